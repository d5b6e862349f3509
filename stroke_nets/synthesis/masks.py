"""Lesion shapes from real masks."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.errors import DataError, UsageError
from stroke_nets.registration.template import Array, template
from stroke_nets.scans.reader import is_nifti, open_scan
from stroke_nets.synthesis.head import Float32, head


@cache
def mask_files(folder: Path) -> list[Path]:
    """The NIfTI files of a folder, in the order of their names.

    Raises:
        UsageError: there are none.
    """
    files = sorted(path for path in folder.glob("*") if is_nifti(path))
    if not files:
        raise UsageError(f"--masks {folder}: holds no .nii or .nii.gz file; give a folder of masks")
    return files


def bring_mask(path: Path, mirrored: bool) -> NDArray[np.bool_]:
    """A lesion mask in MNI space, on the grid of the head's box.

    Args:
        path: mask on any grid; values above 0 are lesion.
        mirrored: whether to mirror it left to right.

    Raises:
        DataError: the file cannot be read, or its lesion does not meet the template's brain.
    """
    image = open_scan(path)
    lesion = (np.asanyarray(image.dataobj) > 0).astype(np.float32)
    whole = head()
    to_mni = template().affine.copy()
    to_mni[:3, 3] += [side.start for side in whole.box]
    flip = np.diag([-1.0 if mirrored else 1.0, 1, 1, 1])
    to_voxel: Array = np.linalg.inv(image.affine) @ flip @ to_mni
    found = ndimage.affine_transform(
        lesion, to_voxel[:3, :3], to_voxel[:3, 3], whole.label.shape, order=1
    )
    inside = (found > 0.5) & (whole.label > 1)
    if not inside.any():
        raise DataError(f"{path}: no lesion inside the MNI brain; give masks in MNI space")
    return np.asarray(inside)


def bend_mask(lesion: NDArray[np.bool_], source: Float32, softness: float = 1.0) -> Float32:
    """The lesion in the patient's space, with smoothed voxel steps.

    Args:
        lesion: in the template's space, on the head's box.
        source: where each voxel of the patient comes from, (3, X, Y, Z).
        softness: standard deviation of the smoothing Gaussian, in mm.

    Returns:
        Lesion fraction of each voxel, in [0, 1]; one half at the border.
    """
    bent = ndimage.map_coordinates(lesion.astype(np.float32), source, order=1)
    smooth = ndimage.gaussian_filter(bent, softness)
    return np.asarray(smooth if (smooth > 0.5).any() else bent)
