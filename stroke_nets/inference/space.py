"""From a scan's own space to the template's grid, where the methods work, and back."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from stroke_nets.errors import DataError
from stroke_nets.inference.inputs import Scan
from stroke_nets.registration.pipeline import Files, carry_back, normalize
from stroke_nets.registration.register import register
from stroke_nets.registration.transform import Transform, load
from stroke_nets.registration.volume import MOST_VOXELS, Array, Float32, Volume
from stroke_nets.scans.geometry import Grid, compare_grids
from stroke_nets.scans.reader import Scan as OpenScan
from stroke_nets.scans.reader import read_scan, sha256
from stroke_nets.scans.voxels import require_image

# Bytes of memory for each voxel of a scan: see docs/predict.md for the measurement.
BYTES, BYTES_AS_IT_IS = 40, 80
CODES = ("sform_code", "qform_code", "xyzt_units")


@dataclass
class Placed:
    """A scan where the methods can read it, and what leads back.

    Attributes:
        image: what the methods read.
        grid: of the scan itself, in mm.
        codes: form codes and units of the scan's header.
        transform: template's mm to scan's mm; None: the scan lies on the template as it is.
        quality: how well it lies there.
        warnings: what is odd.
        files: what the registration wrote.
    """

    image: Path
    grid: Grid
    codes: dict[str, int]
    transform: Transform | None = None
    quality: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    def native(self, voxels: Float32, template: Volume) -> Float32:
        """A volume of the image's grid on the scan's own."""
        if self.transform is None:
            return voxels
        return carry_back(Volume(voxels, template.affine), self.transform, *self.grid)

    def to_template(self, points: Array) -> Array:
        """Places of the scan, (3, N) in mm, in the template's world."""
        return points if self.transform is None else self.transform.to_template(points)


def place(
    scan: Scan, folder: Path, template: Volume, skip: bool = False, overwrite: bool = False
) -> Placed:
    """Bring a scan to the template's grid, unless it lies there or is said to.

    A registration that is there already, of the same file, is used again.

    Args:
        scan: as it was given.
        folder: where the registration's files go.
        template: the brain.
        skip: take the scan as it is.
        overwrite: registrations of other files.

    Raises:
        DataError: the scan cannot be used, or its registration is poor.
        UsageError: ``folder`` has a registration of another file.
    """
    require_memory(scan.path, registered=not skip)
    opened = read_scan(scan.path)
    image, notices = opened.image, opened.notices
    voxels = np.asanyarray(image.dataobj)
    require_image(str(scan.path), voxels)
    placed = Placed(
        image=scan.path,
        grid=Grid(image.shape, image.affine),
        codes={name: int(image.header[name]) for name in CODES},
        warnings=[f"{notice.what}; {notice.fix}" for notice in notices],
    )
    at_home = compare_grids("", Grid(template.voxels.shape, template.affine), placed.grid) is None
    if skip or at_home:
        seen = nib.as_closest_canonical(image)
        volume = Volume(np.asarray(seen.dataobj, np.float32), seen.affine)
        found = register(volume, in_place=True)
        placed.quality = found.quality.as_dict() if found.quality else {}
        placed.warnings += found.problems() + found.warnings()
    else:
        del opened, image, voxels  # a large scan is read again, shrunk
        _register(scan, folder, placed, overwrite)
    return placed


def _register(scan: Scan, folder: Path, placed: Placed, overwrite: bool) -> None:
    files, known = Files.of(scan.path, folder, scan.stem), sha256(scan.path)
    if not (files.image.exists() and _scan_sha256(files.transform) == known):
        if overwrite:
            files.image.unlink(missing_ok=True)
        if overwrite or _scan_sha256(files.transform) == known:  # stopped before the image
            files.transform.unlink(missing_ok=True)
        normalize(scan.path, folder, stem=scan.stem)
    placed.image, placed.transform = files.image, load(files.transform)[0]
    stored = json.loads(files.transform.read_text(encoding="utf-8"))
    placed.quality = stored["quality"]
    placed.warnings += stored.get("warnings", [])
    placed.files = {
        "scan_mni": files.image,
        "transform": files.transform,
        "registration_picture": files.picture,
    }
    if np.prod(placed.grid.shape) > MOST_VOXELS:
        placed.warnings.append(f"{placed.grid.shape} voxels: shrunk to be registered")


def _scan_sha256(transform: Path) -> str | None:
    """Which file a registration is of; None if there is none."""
    if not transform.is_file():
        return None
    found = json.loads(transform.read_text(encoding="utf-8")).get("scan_sha256")
    return str(found) if found else None


def require_memory(path: Path, registered: bool) -> None:
    """Refuse a scan that would not fit into memory, before anything of its size is read.

    Raises:
        DataError: the scan is too large, or has no usable header.
    """
    voxels = int(np.prod(OpenScan(path).announced, dtype=object))
    need, free = voxels * (BYTES if registered else BYTES_AS_IT_IS), free_memory()
    if need > free:
        raise DataError(
            f"{path}: its {voxels / 1e6:.0f} million voxels need about {need / 1e9:.1f} GB of "
            f"memory, {free / 1e9:.1f} GB are free; resample it to 1 mm"
        )


def free_memory() -> int:
    """Bytes of memory that programs can still have."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            known = dict(line.split(":") for line in lines)
        return int(known["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
