"""Surface distances between two masks, as MONAI defines them.

Surface voxels are those removed by one binary erosion with a 6-neighbourhood; they have equal
weights, and distances are measured between voxel centres.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
NAN = float("nan")


def surface_figures(predicted: Mask, true: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """Symmetric average surface distance and 95 % Hausdorff distance.

    They equal MONAI's `compute_average_surface_distance(symmetric=True)`, the mean over the pooled
    points of both surfaces, and `compute_hausdorff_distance(percentile=95)`, the larger of the two
    directed percentiles.

    Args:
        predicted: mask of shape (X, Y, Z).
        true: mask of the same shape.
        spacing: voxel size along X, Y, Z in mm.

    Returns:
        `asd` and `hd95` in mm; nan if a mask is empty.
    """
    if not predicted.any() or not true.any():
        return {"asd": NAN, "hd95": NAN}
    surface_predicted, surface_true = (mask & ~_eroded(mask) for mask in (predicted, true))
    to_true = _distances(surface_predicted, surface_true, spacing)
    to_predicted = _distances(surface_true, surface_predicted, spacing)
    asd = np.concatenate([to_true, to_predicted]).mean()
    hd95 = max(np.percentile(to_true, 95), np.percentile(to_predicted, 95))
    return {"asd": float(asd), "hd95": float(hd95)}


def _distances(surface: Mask, other: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance in mm from each voxel of a surface to the nearest voxel of another, unordered.

    A k-d tree gives the same distances as a Euclidean distance transform, but faster: its cost
    grows with the surface, the transform's with the box, which one stray voxel can enlarge.
    """
    # Large leaves without balancing save more time in building the tree than they cost in queries.
    points = _points_mm(other, spacing)
    tree = KDTree(points, leafsize=32, balanced_tree=False, compact_nodes=False)
    distances = np.zeros(np.count_nonzero(surface))  # 0 where the surfaces coincide
    apart = _points_mm(surface & ~other, spacing)
    distances[: len(apart)] = tree.query(apart)[0]
    return distances


def _points_mm(voxels: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Centres of the voxels, shape (points, 3), in mm."""
    points = np.argwhere(voxels).astype(np.float64)
    return points * np.asarray(spacing, dtype=np.float64)


def _eroded(mask: Mask) -> Mask:
    """Voxels whose six neighbours are all in the mask; outside the array is background.

    Equals SciPy's `binary_erosion` in a fifth of its time.
    """
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            shifted = [slice(1, -1)] * 3
            shifted[axis] = side
            inner &= padded[tuple(shifted)]
    return inner
