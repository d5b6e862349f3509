"""The pictures of a prediction: slices with the mask's outline, and maps on one slice."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stroke_nets.pages.case_figure import LESION, Array, gray_levels, panel
from stroke_nets.pages.prediction_case import Volumes

PANELS = 12
COLUMNS = 4
INCHES = 2.6  # the width of a panel


def chosen_slices(image: Array, mask: Array, count: int = PANELS) -> list[int]:
    """Axial slices to show: through the lesions, evenly; through the head if there is none.

    Args:
        image: intensities of shape (X, Y, Z).
        mask: bool of the same shape.
        count: at most.

    Returns:
        Indices along z, rising.
    """
    shown = mask if mask.any() else image >= image.mean()
    holds = np.flatnonzero(shown.any(axis=(0, 1)))
    places = np.linspace(0, len(holds) - 1, min(count, len(holds)))
    return [int(holds[round(place)]) for place in places]


def montage_png(image: Array, mask: Array, affine: Array) -> tuple[bytes, list[int]]:
    """PNG of axial slices with the mask's outline, and which slices they are.

    Args:
        image: intensities of shape (X, Y, Z), RAS.
        mask: bool of the same shape.
        affine: voxel to mm, (4, 4).

    Returns:
        The picture, and indices along z counted from 0 at the feet.
    """
    slices = chosen_slices(image, mask)
    gray = gray_levels(image)
    size = _size_mm(affine, image.shape)
    rows = -(-len(slices) // COLUMNS)
    high = INCHES * size[1] / size[0] + 0.25
    figure = Figure((COLUMNS * INCHES, rows * high), dpi=100, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, z in zip(grid.flat, slices, strict=False):
        panel(axes, gray[..., z], [], size)
        outline(axes, mask[..., z], size)
        axes.set_title(f"slice {z}", fontsize=9)
    return _png(figure), slices


def maps_png(case: Volumes) -> tuple[bytes, int]:
    """PNG of the maps of a case, each with its scale, on the slice with the largest lesion area.

    Args:
        case: with one map or more.

    Returns:
        The picture, and the index along z.
    """
    area = case.mask.sum(axis=(0, 1))
    slices = chosen_slices(case.image, case.mask)
    z = int(area.argmax()) if area.any() else slices[len(slices) // 2]
    size = _size_mm(case.affine, case.image.shape)
    figure = Figure((4.4 * len(case.maps), 3.8 * size[1] / size[0]), dpi=100, layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(1, len(case.maps), squeeze=False).flat, case.maps.items(), strict=True
    ):
        top = 1.0 if name == "probability" else float(values.max()) or 1.0
        shown = values[::-1, :, z].swapaxes(0, 1)
        panel(axes, np.zeros_like(case.image[..., z], dtype=float), [], size)
        drawn = axes.imshow(
            shown, origin="lower", extent=(0, size[0], 0, size[1]), cmap="cividis", vmin=0, vmax=top
        )
        outline(axes, case.mask[..., z], size)
        axes.set_title(name)
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    return _png(figure), z


def outline(axes: Axes, mask: NDArray[np.bool_], size_mm: tuple[float, float]) -> None:
    """The outline of a region (X, Y) on a `panel` of ``size_mm``."""
    if mask.any():
        x, y = ((np.arange(n) + 0.5) * mm / n for n, mm in zip(mask.shape, size_mm, strict=True))
        shown = mask[::-1].swapaxes(0, 1).astype(float)
        axes.contour(x, y, shown, [0.5], colors=["black"], linewidths=2.2)  # seen on any gray
        axes.contour(x, y, shown, [0.5], colors=[LESION], linewidths=1.1)


def _size_mm(affine: Array, shape: tuple[int, ...]) -> tuple[float, float]:
    """Extent of an axial slice along X and Y."""
    x, y, _ = np.linalg.norm(affine[:3, :3], axis=0) * shape
    return float(x), float(y)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
