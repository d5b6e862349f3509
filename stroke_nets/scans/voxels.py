"""Validate the voxel values of scans and lesion masks: rows L1 to L10 of the checks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroke_nets.scans.finding import Finding, Refusal

MANY = 20  # no mask has this many distinct values


def require_image(name: str, voxels: NDArray[Any], nonfinite: float | None = None) -> NDArray[Any]:
    """A scan's voxels (rows L1 to L3, L10).

    Args:
        name: the file, for the message.
        voxels: any shape.
        nonfinite: replacement for NaN and infinite voxels; None refuses them.

    Raises:
        Refusal: voxels are not finite, or have one or two values.
    """
    if voxels.dtype.kind == "f":
        finite = np.isfinite(voxels)
        bad = voxels.size - int(np.count_nonzero(finite))
        if bad == voxels.size:
            raise Refusal(Finding(name, "L3", "no voxel is a finite number", "export it again"))
        if bad and nonfinite is None:
            kinds = {"L1": np.isnan(voxels).any(), "L2": np.isinf(voxels).any()}
            row = next(row for row, found in kinds.items() if found)
            what = f"{bad} voxels are {'NaN' if row == 'L1' else 'infinite'}"
            fix = "save it with finite values (a bundle replaces them with reading: {nonfinite: 0})"
            raise Refusal(Finding(name, row, what, fix))
        if bad:
            voxels = np.where(finite, voxels, voxels.dtype.type(nonfinite))
    low, high = voxels.min(), voxels.max()
    if low == high:
        what = f"an empty image: every voxel is {low:g}"
        raise Refusal(Finding(name, "L3", what, "export it again"))
    if ((voxels == low) | (voxels == high)).all():
        what = f"a mask, not a scan: it holds only {low:g} and {high:g}"
        raise Refusal(Finding(name, "L10", what, "give the scan, or name it *_mask.nii.gz"))
    return voxels


def require_mask(name: str, voxels: NDArray[Any], binarize: bool = False) -> NDArray[Any]:
    """A mask's voxels as 0 and 1 (rows L5 to L9).

    Args:
        name: the file, for the message.
        voxels: any shape.
        binarize: treat every positive value as lesion.

    Raises:
        Refusal: there are values other than 0 and 1; with ``binarize``, NaN or negative values.
    """
    if ((voxels == 0) | (voxels == 1)).all():
        return voxels.astype(np.uint8)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        fix = "export the mask again"
        raise Refusal(Finding(name, "L8", "a mask with NaN or infinite voxels", fix))
    if binarize and voxels.min() >= 0:
        return (voxels > 0).astype(np.uint8)
    values = np.unique(voxels) + 0  # -0 is 0
    if len(values) > MANY:
        what = f"{len(values)} different values from {values[0]:g} to {values[-1]:g}: not a mask"
        raise Refusal(Finding(name, "L9", what, "check which file is the mask"))
    shown = ", ".join(str(value).removesuffix(".0") for value in values)
    if list(values) == [0, 255]:
        fix = "set 255 to 1 (a bundle does with reading: {binarize: true})"
        raise Refusal(Finding(name, "L5", "a mask with values 0 and 255", fix))
    row = "L6" if np.any(values % 1 != 0) else "L7"
    fix = "set what is lesion to 1 and the rest to 0"
    raise Refusal(Finding(name, row, f"a mask with values {shown}, not 0 and 1", fix))
