"""The one check that a case is fit for use."""

from collections.abc import Iterable
from typing import Any

import nibabel as nib
import numpy as np

from stroke_nets.data.reader import open_scan
from stroke_nets.errors import DataError

AFFINE_TOLERANCE_MM = 1e-2  # headers store float32: a rounding error at 200 mm is 1e-5


def require_same_grid(image: nib.Nifti1Image, label: nib.Nifti1Image, name: str) -> None:
    """Refuse a mask on another grid than its scan's; another orientation is accepted.

    Raises:
        DataError: shapes differ, or affines by more than `AFFINE_TOLERANCE_MM`.
    """
    image, label = nib.as_closest_canonical(image), nib.as_closest_canonical(label)
    if image.shape != label.shape:
        raise DataError(
            f"{name}: the mask's shape {label.shape} is not the scan's {image.shape}; "
            "resample the mask onto the scan"
        )
    gap = float(np.abs(image.affine - label.affine).max())
    if gap > AFFINE_TOLERANCE_MM:
        raise DataError(
            f"{name}: the mask's affine differs from the scan's by {gap:.3g} mm; "
            "resample the mask onto the scan"
        )


def require_fit(cases: Iterable[dict[str, Any]]) -> None:
    """Read every file of every case and report all problems at once.

    Args:
        cases: data dictionaries with ``image`` and perhaps ``label`` paths.

    Raises:
        DataError: one line for each bad case.
    """
    problems = []
    for case in cases:
        try:
            image = open_scan(case["image"])
            if "label" in case:
                require_same_grid(image, open_scan(case["label"]), case["label"])
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
