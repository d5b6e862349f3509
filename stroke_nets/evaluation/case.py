"""Metrics of one case: overlap, surface distances in mm, volumes in ml, lesions.

Sources: AGMR-Net (DSC, recall, precision, ASD, 95HD per patient) and MSCSA (lesion-wise F1).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stroke_nets.evaluation.lesions import CONNECTIVITY, Connectivity, lesion_figures
from stroke_nets.evaluation.surface import surface_figures

Mask = NDArray[np.bool_]


def case_metrics(
    prediction: NDArray[np.generic],
    truth: NDArray[np.generic],
    spacing: Sequence[float],
    connectivity: Connectivity = CONNECTIVITY,
) -> dict[str, float | int]:
    """Compare one predicted lesion mask with its truth, within their joint bounding box.

    Values for empty masks ("-" is nan, which `summary.summarize` excludes or replaces by a penalty
    according to its policy; for lesion-wise metrics see `lesions.lesion_figures`)::

        prediction  truth   dice  recall  precision  asd  hd95
        empty       lesion  0     0       0          -    -
        voxels      empty   0     0       0          -    -
        empty       empty   1     1       1          -    -

    Args:
        prediction: mask of shape (X, Y, Z), bool or integer; non-zero voxels are lesion.
        truth: mask of the same shape.
        spacing: voxel size along X, Y, Z in mm.
        connectivity: 6, 18 or 26 neighbours in a connected component.

    Returns:
        tp, fp, fn (voxels), dice, recall, precision, asd and hd95 (mm), the lesion-wise metrics
        of `lesions.lesion_figures`, truth_ml, predicted_ml, volume_difference_ml (absolute) and
        diagonal_mm (of the image, the penalty for an undefined distance).

    Raises:
        ValueError: the shapes differ or are not 3D, a mask has a float type, the spacing is not
            three positive numbers, or the connectivity is unknown.
    """
    predicted, true = _checked(prediction, truth, spacing)
    sides = [size * float(mm) for size, mm in zip(true.shape, spacing, strict=True)]
    box = _box(predicted | true)  # there is only background outside
    predicted, true = np.ascontiguousarray(predicted[box]), np.ascontiguousarray(true[box])
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    tp = int(np.count_nonzero(predicted & true))
    voxel_ml = math.prod(float(mm) for mm in spacing) / 1000
    return {
        "tp": tp,
        "fp": n_predicted - tp,
        "fn": n_true - tp,
        **_overlap(tp, n_predicted, n_true),
        **surface_figures(predicted, true, spacing),
        **lesion_figures(predicted, true, voxel_ml, connectivity),
        "truth_ml": n_true * voxel_ml,
        "predicted_ml": n_predicted * voxel_ml,
        "volume_difference_ml": abs(n_true - n_predicted) * voxel_ml,
        "diagonal_mm": math.hypot(*sides),
    }


def _checked(
    prediction: NDArray[np.generic], truth: NDArray[np.generic], spacing: Sequence[float]
) -> tuple[Mask, Mask]:
    """Both masks as bool of shape (X, Y, Z), so that no count overflows a small integer type."""
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise ValueError(
            f"prediction {prediction.shape} and truth {truth.shape} must share one 3D shape"
        )
    if not {prediction.dtype.kind, truth.dtype.kind} <= set("biu"):
        raise ValueError(
            f"masks are {prediction.dtype} and {truth.dtype}, not bool or integer: threshold first"
        )
    if len(spacing) != 3 or not all(0 < side < np.inf for side in spacing):
        raise ValueError(f"spacing must be three positive numbers in mm, not {tuple(spacing)}")
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def _box(mask: Mask) -> tuple[slice, ...]:
    """The bounding box of a mask; a single voxel if the mask is empty."""
    box = [slice(None)] * 3
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(mask[tuple(box)].any(axis=others))
        box[axis] = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, 1)
    return tuple(box)


def _overlap(tp: int, n_predicted: int, n_true: int) -> dict[str, float]:
    """Dice, recall and precision from voxel counts."""
    if n_predicted == n_true == 0:
        return {"dice": 1.0, "recall": 1.0, "precision": 1.0}
    return {
        "dice": 2 * tp / (n_predicted + n_true),
        "recall": tp / n_true if n_true else 0.0,
        "precision": tp / n_predicted if n_predicted else 0.0,
    }
