"""From scan to template and back: what ``stroke-nets normalize`` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import whole
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.picture import draw
from stroke_nets.registration.register import register
from stroke_nets.registration.transform import Transform, load, save
from stroke_nets.registration.volume import Array, Float32, Volume, brain, read, resampled
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.formats import ENDINGS, bare
from stroke_nets.scans.reader import open_scan, read_scan
from stroke_nets.scans.voxels import require_mask

SPACE = "MNI152NLin2009aSym"
MNI152 = 4  # NIfTI-1 form code


@dataclass(frozen=True)
class Files:
    """What is written for one scan."""

    image: Path
    transform: Path
    picture: Path
    rejected: Path  # the picture if the registration is poor; then nothing else is written

    @classmethod
    def of(cls, scan: Path, out: Path, stem: str | None = None, suffix: str = "T1w") -> "Files":
        """The files of a scan, named after it, or beginning with ``stem``."""
        if stem is None:
            stem = bare(scan.name).removesuffix(f"_{suffix}")
        return cls(
            image=out / f"{stem}_space-{SPACE}_{suffix}.nii.gz",
            transform=out / f"{stem}_to-{SPACE}_transform.json",
            picture=out / f"{stem}_to-{SPACE}_qc.png",
            rejected=out / f"{stem}_to-{SPACE}_rejected.png",
        )


def normalize(scan: Path, out: Path, stem: str | None = None) -> Files:
    """Register a scan to the template and write it on the template's grid.

    Args:
        scan: T1w scan of a whole head.
        out: folder to write; made if it does not exist.
        stem: what the files' names begin with; by default the scan's.

    Returns:
        The files written: all but ``rejected``.

    Raises:
        UsageError: the scan was normalised into this folder before, or niimath finds no map.
        DataError: the scan cannot be used, or its registration is poor; the picture
            ``rejected`` then shows it.
    """
    files = Files.of(scan, out, stem)
    if files.image.exists():
        raise UsageError(f"{files.image} is there already; delete it or choose another OUT")
    template, native = brain(), read(scan)
    found = register(native)
    registered = OnTemplate(found.matrix).place(found.scaled(native))
    problems = found.problems()
    with whole(files.rejected if problems else files.picture) as partial:
        draw(partial, template, registered, scan.name)
    if problems:
        raise DataError(
            f"{scan}: the registration is poor ({'; '.join(problems + found.warnings())}), "
            f"nothing is passed on; "
            f"look at {files.rejected}, and give a T1w scan of a whole head"
        )
    quality = found.quality.as_dict() if found.quality else {}
    opened = read_scan(scan)
    save(
        files.transform,
        Transform(found.matrix),
        opened.image,
        quality,
        opened.digest,
        found.warnings(),
    )
    _write(files.image, registered, template.affine)  # last: with it all is there
    return files


def bring_back(mask: Path, transform: Path, out: Path) -> None:
    """Write a mask of the template's grid on the grid of the scan that was normalised.

    Args:
        mask: on the template's grid.
        transform: what ``normalize`` wrote for the scan.
        out: file to write: grid, affine, form codes and units are the scan's.

    Raises:
        UsageError: ``out`` is there already or does not end as a NIfTI file.
        DataError: the mask lies on another grid or is none, or a file cannot be read.
    """
    if out.exists() or not out.name.endswith(ENDINGS):
        raise UsageError(f"{out}: give a new file that ends in {' or '.join(ENDINGS)}")
    there, header = load(transform)
    template = brain()
    image = open_scan(mask)
    require_same_grid(nib.Nifti1Image(template.voxels, template.affine), image, str(mask))
    image = nib.as_closest_canonical(image)
    voxels = require_mask(str(mask), np.asanyarray(image.dataobj))
    lesion = Volume(voxels.astype(np.float32), image.affine)
    voxels = from_template(lesion, there, header.get_data_shape(), header.get_best_affine())
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    _save(nib.Nifti1Image(voxels, None, header), out)


def from_template(
    lesion: Volume, transform: Transform, shape: tuple[int, ...], affine: Array
) -> NDArray[np.uint8]:
    """A mask of the template's grid on a scan's grid: where more than half of a voxel is lesion."""
    return (carry_back(lesion, transform, shape, affine) > 0.5).astype(np.uint8)


def carry_back(
    volume: Volume, transform: Transform, shape: tuple[int, ...], affine: Array
) -> Float32:
    """A volume of the template's grid on a scan's grid, trilinear.

    Args:
        volume: on the template's grid.
        transform: of the scan.
        shape: of the scan, X x Y x Z.
        affine: of the scan.
    """
    there = np.linalg.inv(volume.affine) @ np.linalg.inv(transform.matrix) @ affine
    return resampled(volume.voxels, there, shape)


def _write(path: Path, voxels: Float32, affine: Array) -> None:
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, MNI152)
    image.set_qform(affine, MNI152)
    image.header.set_xyzt_units("mm")
    _save(image, path)


def _save(image: Any, path: Path) -> None:
    """Write a NIfTI file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        nib.save(image, partial)
