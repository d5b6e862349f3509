"""The interactive page of a prediction: three planes with sliders and an overlay.

The canvas is our own, so the page and its script add 12 kB to the volumes and run in any browser
of 2023 or later. NiiVue shows more (3D, meshes), but adds megabytes of script to each report, needs
WebGL2, which remote desktops often lack, and has no sliders accessible to a screen reader.
nilearn's ``view_img`` has no slice controls and resamples to isotropic voxels.
"""

import base64
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.evaluation.lesions import CONNECTIVITY
from stroke_nets.pages.case_figure import Array
from stroke_nets.pages.page import write_page
from stroke_nets.pages.prediction_case import Volumes
from stroke_nets.pages.prediction_figure import PLANES

LONGEST = 320  # voxels along an axis; larger scans are subsampled to keep the page small
MOST_LESIONS = 20  # in the list


@dataclass(frozen=True)
class Place:
    """A lesion of a mask: its voxel nearest to its centroid, and its number of voxels."""

    place: tuple[int, int, int]
    voxels: int


def write_viewer(
    path: Path,
    title: str,
    case: Volumes,
    worlds: dict[str, Array] | None = None,
    report: str = "",
    threshold: float = 0.5,
) -> Path:
    """Write the page, which is self-contained and does not access the network.

    Args:
        path: path of the page; an existing one is replaced.
        title: plain text.
        case: the volumes to show.
        worlds: maps from the mm of the grid to displayed coordinates, by name, (4, 4) each.
        report: name of the page to link back to.
        threshold: probability that made the mask.

    Returns:
        The path.
    """
    step = -(-max(case.image.shape) // LONGEST)
    lesions = lesion_places(case.mask)
    start = lesions[0].place if lesions else [side // 2 for side in case.image.shape]
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    voxel_ml = float(abs(np.linalg.det(case.affine[:3, :3]))) / 1000
    shape = [-(-side // step) for side in case.image.shape]
    given = {
        "shape": shape,
        "worlds": {
            name: (matrix @ case.affine).tolist()
            for name, matrix in (worlds or {"scanner": np.eye(4)}).items()
        },
        "spacing": spacing.tolist(),
        "step": step,
        "start": [place // step for place in start],
        "voxel_ml": voxel_ml * step**3,
        "threshold": round(100 * threshold),
        "mask_ml": float(case.mask.sum()) * voxel_ml,
        "layers": _layers(case, step),
    }
    planes = [
        {"name": name, "letters": letters, "last": shape[axis] - 1}
        for name, (axis, letters) in PLANES.items()
    ]
    return write_page(
        path,
        "viewer.html",
        title,
        script="viewer.js",
        given=given,
        planes=planes,
        report=report,
        maps=list(case.maps),
        has_truth=case.truth is not None,
        lesions=[
            {"place": [at // step for at in one.place], "ml": one.voxels * voxel_ml}
            for one in lesions
        ],
    )


def lesion_places(mask: NDArray[np.bool_], most: int = MOST_LESIONS) -> list[Place]:
    """The positions of the lesions, the largest first.

    Args:
        mask: mask of shape (X, Y, Z).
        most: maximum number of lesions.
    """
    lesions = cc3d.connected_components(mask, connectivity=CONNECTIVITY)
    sizes = np.bincount(lesions.ravel())[1:]
    boxes = ndimage.find_objects(lesions)
    places = []
    for label in np.argsort(-sizes, kind="stable")[:most]:
        first = [side.start for side in boxes[label]]
        voxels = np.argwhere(lesions[boxes[label]] == label + 1) + first
        away = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
        x, y, z = (int(at) for at in voxels[away.argmin()])
        places.append(Place((x, y, z), int(sizes[label])))
    return places


def _layers(case: Volumes, step: int) -> dict[str, dict[str, Any]]:
    """The volumes by name: bytes, x fastest, and the value represented by 255."""
    thin = (slice(None, None, step),) * 3
    layers = {"scan": {"data": _packed(case.gray[thin]), "top": 1.0}}
    for name, mask in (("mask", case.mask), ("truth", case.truth)):
        if mask is not None:
            layers[name] = {"data": _packed(_largest(mask, step)[thin]), "top": 1.0}
    for name, values in case.maps.items():
        top = float(values.max()) or 1.0
        layers[name] = {"data": _packed(values[thin] / top), "top": top}
    return layers


def _largest(mask: NDArray[np.bool_], step: int) -> Array:
    """The maximum of each block, so that subsampling loses no small lesion."""
    found: Array = ndimage.maximum_filter(mask.view(np.uint8), step, origin=-(step // 2))
    return found


def _packed(values: Array) -> str:
    """Values in [0, 1] as compressed bytes."""
    voxels = np.rint(255 * values).astype(np.uint8)
    return base64.b64encode(gzip.compress(voxels.tobytes(order="F"), 6, mtime=0)).decode()
