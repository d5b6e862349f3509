"""The table of a mask's lesions: where each is and how large."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import cc3d
import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from stroke_nets.evaluation.lesions import CONNECTIVITY
from stroke_nets.scans.geometry import Grid

ONE_SIDE = 0.9  # of a lesion's voxels make it one of that hemisphere
COLUMNS = (
    "lesion",
    "volume_ml",
    "voxels",
    "x_mm",
    "y_mm",
    "z_mm",
    "hemisphere",
    "extent_x_mm",
    "extent_y_mm",
    "extent_z_mm",
    "mean_probability",
    "mean_uncertainty",
    "touches_border",
)

Array = NDArray[np.float64]
Map = NDArray[np.floating[Any]]


def lesion_rows(
    mask: NDArray[np.bool_],
    grid: Grid,
    to_template: Callable[[Array], Array],
    probability: Map,
    uncertainty: Map | None = None,
) -> list[dict[str, Any]]:
    """Each connected component of a mask, the largest first.

    Volumes and extents are of the scan itself; extents run along right-left, back-front and
    foot-head. The centroid is in MNI mm. A lesion is ``left`` or ``right`` if nine tenths of it
    are, else ``both``.

    Args:
        mask: X x Y x Z.
        grid: of the mask.
        to_template: takes places of the scan, (3, N) in mm, to the template's.
        probability: of the mask's shape.
        uncertainty: of the mask's shape, if there is one.

    Returns:
        One dictionary for each lesion, with the keys `COLUMNS`.
    """
    labels = cc3d.connected_components(mask, connectivity=CONNECTIVITY)
    voxels = np.argwhere(mask)
    of_voxel = labels[mask].astype(np.int64)
    x, y, z = to_template(nib.affines.apply_affine(grid.affine, voxels).T)
    count = np.bincount(of_voxel, minlength=1)

    def mean(values: NDArray[Any]) -> Array:
        total = np.bincount(of_voxel, values, minlength=1)
        return np.asarray(total / np.maximum(count, 1))

    left, chance = mean(x < 0), mean(probability[mask])
    doubt = None if uncertainty is None else mean(uncertainty[mask])
    centres = [mean(axis) for axis in (x, y, z)]
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    voxel_ml = float(abs(np.linalg.det(grid.affine[:3, :3]))) / 1000
    rows = []
    order = sorted(range(1, len(count)), key=lambda label: (-count[label], label))
    for rank, one in enumerate(order, 1):
        extent = _extent(boxes[one], grid)
        rows.append(
            {
                "lesion": rank,
                "volume_ml": round(int(count[one]) * voxel_ml, 4),
                "voxels": int(count[one]),
                **{f"{a}_mm": round(float(c[one]), 1) for a, c in zip("xyz", centres, strict=True)},
                "hemisphere": _side(float(left[one])),
                **{f"extent_{a}_mm": e for a, e in zip("xyz", extent, strict=True)},
                "mean_probability": round(float(chance[one]), 3),
                "mean_uncertainty": None if doubt is None else round(float(doubt[one]), 3),
                "touches_border": _touches(boxes[one], mask.shape),
            }
        )
    return rows


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The table as text; a mask without lesion has the header alone."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _side(left: float) -> str:
    if left >= ONE_SIDE:
        return "left"
    return "right" if left <= 1 - ONE_SIDE else "both"


def _extent(box: Sequence[slice], grid: Grid) -> list[float]:
    """Sides of a bounding box in mm, along the world's x, y and z."""
    sizes = nib.affines.voxel_sizes(grid.affine)
    sides = [(b.stop - b.start) * mm for b, mm in zip(box, sizes, strict=True)]
    axes = io_orientation(grid.affine)[:, 0].astype(int)
    return [round(float(sides[int(np.flatnonzero(axes == world)[0])]), 1) for world in range(3)]


def _touches(box: Sequence[slice], shape: tuple[int, ...]) -> bool:
    return any(b.start == 0 or b.stop == n for b, n in zip(box, shape, strict=True))
