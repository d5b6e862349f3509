"""The figures of one case: overlap, surface distances in mm, volumes in ml, lesion counts.

Sources: AGMR-Net (DSC, recall, precision, ASD, 95HD per patient) and, for the connectivity of
lesions, MSCSA. The surface distances are MONAI's: surface voxels are those that one binary erosion
with a 6-neighbourhood removes, each is weighted alike, and distances run between voxel centres.
"""

from collections.abc import Sequence
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
Connectivity = Literal[6, 18, 26]
NAN = float("nan")


def case_metrics(
    prediction: NDArray[np.generic],
    truth: NDArray[np.generic],
    spacing: Sequence[float],
    connectivity: Connectivity = 6,
) -> dict[str, float | int]:
    """Compare one predicted lesion mask with its truth.

    What an empty mask gives (the policy that `summary.POLICY` names; "-" is nan, which `summarize`
    leaves out of the means and counts)::

        prediction  truth   dice  recall  precision  asd  hd95
        empty       lesion  0     0       0          -    -
        voxels      empty   0     0       0          -    -
        empty       empty   1     1       1          -    -

    Args:
        prediction: mask of shape (X, Y, Z), bool or integer; what is not zero is lesion.
        truth: mask of the same shape.
        spacing: voxel size along X, Y, Z in mm.
        connectivity: 6, 18 or 26: the neighbours that make two voxels one lesion.

    Returns:
        tp, fp, fn (voxels), dice, recall, precision, asd and hd95 (mm), lesions_truth,
        lesions_predicted, truth_ml, predicted_ml.

    Raises:
        ValueError: shapes that differ or are not 3D, a mask of floats, a spacing that is not three
            positive numbers, an unknown connectivity.
    """
    predicted, true = _checked(prediction, truth, spacing)
    box = ndimage.find_objects((predicted | true).astype(np.uint8))
    if box:  # beyond the joint bounding box there is only background
        predicted, true = predicted[box[0]], true[box[0]]
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    tp = int(np.count_nonzero(predicted & true))
    asd, hd95 = _surface_figures(predicted, true, spacing)
    voxel_ml = float(np.prod(np.asarray(spacing, dtype=np.float64))) / 1000
    return {
        "tp": tp,
        "fp": n_predicted - tp,
        "fn": n_true - tp,
        **_overlap(tp, n_predicted, n_true),
        "asd": asd,
        "hd95": hd95,
        "lesions_truth": _n_lesions(true, connectivity),
        "lesions_predicted": _n_lesions(predicted, connectivity),
        "truth_ml": n_true * voxel_ml,
        "predicted_ml": n_predicted * voxel_ml,
    }


def _checked(
    prediction: NDArray[np.generic], truth: NDArray[np.generic], spacing: Sequence[float]
) -> tuple[Mask, Mask]:
    """Both masks as bool of shape (X, Y, Z), so that no count can overflow a small integer."""
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
    return prediction.astype(bool), truth.astype(bool)


def _overlap(tp: int, n_predicted: int, n_true: int) -> dict[str, float]:
    """Dice, recall and precision from voxel counts."""
    if n_predicted == n_true == 0:
        return {"dice": 1.0, "recall": 1.0, "precision": 1.0}
    return {
        "dice": 2 * tp / (n_predicted + n_true),
        "recall": tp / n_true if n_true else 0.0,
        "precision": tp / n_predicted if n_predicted else 0.0,
    }


def _surface_figures(predicted: Mask, true: Mask, spacing: Sequence[float]) -> tuple[float, float]:
    """Symmetric average surface distance and 95 % Hausdorff distance in mm; nan if one is empty.

    As MONAI's `compute_average_surface_distance(symmetric=True)`, the mean over the pooled points
    of both surfaces, and `compute_hausdorff_distance(percentile=95)`, the larger of the two
    directed percentiles.
    """
    if not predicted.any() or not true.any():
        return NAN, NAN
    points_predicted, points_true = _surface_mm(predicted, spacing), _surface_mm(true, spacing)
    # A tree of the surface points gives the same distances as a distance transform, sooner.
    to_true = KDTree(points_true).query(points_predicted)[0]
    to_predicted = KDTree(points_predicted).query(points_true)[0]
    asd = np.concatenate([to_true, to_predicted]).mean()
    hd95 = max(np.percentile(to_true, 95), np.percentile(to_predicted, 95))
    return float(asd), float(hd95)


def _surface_mm(mask: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Centres of the surface voxels, shape (points, 3), in mm; the array's border is background."""
    surface = mask & ~ndimage.binary_erosion(mask)
    return np.argwhere(surface).astype(np.float64) * np.asarray(spacing, dtype=np.float64)


def _n_lesions(mask: Mask, connectivity: Connectivity) -> int:
    """Number of connected components."""
    return int(cc3d.connected_components(mask, connectivity=connectivity, return_N=True)[1])
