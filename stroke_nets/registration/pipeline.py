"""From scan to template and back: what ``stroke-nets normalize`` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import whole
from stroke_nets.registration.affine import register
from stroke_nets.registration.bias import correct_bias, scaled
from stroke_nets.registration.picture import draw
from stroke_nets.registration.quality import Quality, information, measure
from stroke_nets.registration.start import find_poses
from stroke_nets.registration.transform import Transform, load, save
from stroke_nets.registration.volume import Array, Float32, Volume, brain, places, read
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.reader import ENDINGS, open_scan, sha256

SPACE = "MNI152NLin2009aSym"
MNI152 = 4  # NIfTI-1 form code
SLAB = 8  # slices of a scan to which a mask returns at once: 512 x 512 x 8 take 0.2 GB


@dataclass(frozen=True)
class Files:
    """What is written for one scan."""

    image: Path
    transform: Path
    picture: Path
    rejected: Path  # the picture if the registration is poor; then nothing else is written

    @classmethod
    def of(cls, scan: Path, out: Path, stem: str | None = None) -> "Files":
        """The files of a scan, named after it, or beginning with ``stem``."""
        if stem is None:
            stem = scan.name
            for ending in ENDINGS:
                stem = stem.removesuffix(ending)
            stem = stem.removesuffix("_T1w")
        return cls(
            image=out / f"{stem}_space-{SPACE}_T1w.nii.gz",
            transform=out / f"{stem}_to-{SPACE}_transform.json",
            picture=out / f"{stem}_to-{SPACE}_qc.png",
            rejected=out / f"{stem}_to-{SPACE}_rejected.png",
        )


def normalize(scan: Path, out: Path, deformable: bool = False, stem: str | None = None) -> Files:
    """Correct a scan's bias, register it to the template and write it on the template's grid.

    Args:
        scan: T1w scan of a whole head.
        out: folder to write; made if it does not exist.
        deformable: whether splines follow the affine map.
        stem: what the files' names begin with; by default the scan's.

    Returns:
        The files written: all but ``rejected``.

    Raises:
        UsageError: the scan was normalised into this folder before, or ITK is missing.
        DataError: the scan cannot be used, or its registration is poor; the picture
            ``rejected`` then shows it.
    """
    files = Files.of(scan, out, stem)
    for file in (files.image, files.transform):
        if file.exists():
            raise UsageError(f"{file} is there already; delete it or choose another OUT_DIR")
    template = brain()
    corrected = correct_bias(read(scan))
    try:
        transform, quality = fit(template, scaled(corrected), deformable)
    except RuntimeError as error:  # elastix: the images do not overlap
        raise DataError(f"{scan}: no registration; give a T1w scan of a whole head") from error
    out.mkdir(parents=True, exist_ok=True)
    registered = np.maximum(on_template(template, corrected, transform), 0)
    problems = quality.problems()
    draw(files.rejected if problems else files.picture, template, registered, scan.name)
    if problems:
        raise DataError(
            f"{scan}: the registration is poor ({'; '.join(problems)}), nothing is passed on; "
            f"look at {files.rejected}, and give a T1w scan of a whole head that lies upright"
        )
    save(files.transform, transform, open_scan(scan), quality.as_dict(), sha256(scan))
    _write(files.image, registered, template.affine)  # last: with it all is there
    return files


def fit(
    template: Volume, scan: Volume, deformable: bool = False, **options: int
) -> tuple[Transform, Quality]:
    """Register a scan from one start for each size, keep the best, and measure how well it fits.

    Args:
        template: the brain.
        scan: bias-corrected.
        deformable: whether splines follow the affine map.
        options: of ``register``.

    Returns:
        The transform with the highest mutual information, and its quality.
    """
    starts = [pose.matrix for pose in find_poses(template, scan)]
    found = [register(template, scan, start, **options) for start in starts]
    found.sort(key=lambda matrix: information(template, scan, matrix), reverse=True)
    transform = Transform(found[0])
    if deformable:
        from stroke_nets.registration.deformable import deform

        transform = Transform(found[0], deform(template, scan, found[0]))
    return transform, measure(template, scan, transform, found[1:])


def on_template(template: Volume, volume: Volume, transform: Transform, order: int = 3) -> Float32:
    """A volume of the scan's space on the template's grid, (X, Y, Z)."""
    everywhere = places(np.ones(template.voxels.shape, bool), template.affine)
    seen = volume.sample(transform.to_scan(everywhere), order)
    return seen.reshape(template.voxels.shape)


def bring_back(mask: Path, transform: Path, out: Path) -> None:
    """Write a mask of the template's grid on the grid of the scan that was normalised.

    Args:
        mask: on the template's grid.
        transform: what ``normalize`` wrote for the scan.
        out: file to write: grid, affine, form codes and units are the scan's.

    Raises:
        UsageError: ``out`` is there already or does not end as a NIfTI file.
        DataError: the mask lies on another grid, or a file cannot be read.
    """
    if out.exists() or not out.name.endswith(ENDINGS):
        raise UsageError(f"{out}: give a new file that ends in {' or '.join(ENDINGS)}")
    there, header = load(transform)
    template = brain()
    image = open_scan(mask)
    require_same_grid(nib.Nifti1Image(template.voxels, template.affine), image, str(mask))
    image = nib.as_closest_canonical(image)
    lesion = Volume((np.asanyarray(image.dataobj) > 0).astype(np.float32), image.affine)
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
    """A volume of the template's grid on a scan's grid, interpolated, a slab at a time.

    Args:
        volume: on the template's grid.
        transform: of the scan.
        shape: of the scan, X x Y x Z.
        affine: of the scan.
    """
    carried = np.zeros(shape, np.float32)
    for first in range(0, shape[0], SLAB):
        slab = carried[first : first + SLAB]
        start = nib.affines.from_matvec(np.eye(3), (first, 0, 0))
        points = transform.to_template(places(np.ones(slab.shape, bool), affine @ start))
        slab[...] = volume.sample(points).reshape(slab.shape)
    return carried


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
