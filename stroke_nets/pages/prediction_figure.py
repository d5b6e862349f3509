"""Pictures of a prediction: the largest lesion in three planes, slices, maps, a thumbnail.

All follow the radiological convention, with labels, on black as in a viewer.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from stroke_nets.pages.case_figure import LESION, Array, panel
from stroke_nets.pages.prediction_case import Volumes

PANELS = 12
COLUMNS = 6
INCHES = 1.9  # the width of a panel
TITLE = 0.25  # inches above it
TRUTH = "#7fd34e"
DARK = 0.1  # gray levels below this are background when a picture is cropped to the head
# plane: its normal axis, and the labels on the left and right of its picture
PLANES = {"axial": (2, "RL"), "coronal": (1, "RL"), "sagittal": (0, "AP")}


def planes_png(case: Volumes, place: Sequence[int]) -> bytes:
    """PNG of the three planes through a voxel at the same scale: outlines of mask and truth."""
    gray = case.gray
    box = _head(gray, case.mask)
    shape = tuple(side.stop - side.start for side in box)
    sizes = [_size_mm(case.affine, shape, axis) for axis, _ in PLANES.values()]
    high = max(size[1] for size in sizes)
    figure = _black((11, 11 * high / sum(size[0] for size in sizes) + 0.45))
    row = figure.subplots(1, 3, gridspec_kw={"width_ratios": [size[0] for size in sizes]})
    for axes, size, (name, (axis, letters)) in zip(row, sizes, PLANES.items(), strict=True):
        at = place[axis] - box[axis].start
        panel(axes, gray[box].take(at, axis), [], size, letters)
        if case.truth is not None:
            outline(axes, case.truth[box].take(at, axis), size, TRUTH)
        outline(axes, case.mask[box].take(at, axis), size)
        axes.set_ylim((size[1] - high) / 2, (size[1] + high) / 2)  # same scale
        axes.set_title(f"{name}, slice {place[axis]}", color="white", fontsize=10)
    return _image(figure)


def thumbnail(case: Volumes) -> bytes:
    """A small JPEG of the axial slice with the largest lesion area."""
    gray, z = case.gray, _largest_slice(case)
    x, y, _ = _head(gray, case.mask)
    size = _size_mm(case.affine, gray[x, y].shape)
    figure = Figure((1.3, 1.3 * size[1] / size[0]), dpi=100, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    panel(axes, gray[x, y, z], [], size, letters="")
    outline(axes, case.mask[x, y, z], size)
    for at, letter in ((0.08, "R"), (0.92, "L")):
        axes.text(
            at, 0.92, letter, transform=axes.transAxes, ha="center", color="white", fontsize=8
        )
    return _image(figure, "jpeg", pil_kwargs={"quality": 80})


def chosen_slices(image: Array, mask: Array, count: int = PANELS) -> list[int]:
    """Select evenly spaced axial slices through the lesions, or the head if there are none.

    Args:
        image: intensities of shape (X, Y, Z).
        mask: bool of the same shape.
        count: maximum number of slices.

    Returns:
        Ascending indices along z.
    """
    shown = mask if mask.any() else image >= image.mean()
    holds = np.flatnonzero(shown.any(axis=(0, 1)))
    places = np.linspace(0, len(holds) - 1, min(count, len(holds)))
    return [int(holds[round(place)]) for place in places]


def montage_png(case: Volumes) -> tuple[bytes, list[int]]:
    """PNG of axial slices with the outlines of mask and truth, and their indices.

    Returns:
        The picture, and indices along z counted from 0 at the feet.
    """
    gray, mask, slices = case.gray, case.mask, chosen_slices(case.image, case.mask)
    x, y, _ = _head(gray, mask)
    size = _size_mm(case.affine, gray[x, y].shape)
    rows = -(-len(slices) // COLUMNS)
    high = rows * (INCHES * size[1] / size[0] + TITLE)
    figure = Figure((COLUMNS * INCHES, high), dpi=100, facecolor="black")
    close = {"left": 0, "right": 1, "bottom": 0, "top": 1 - TITLE / high, "wspace": 0.03}
    between = {"hspace": TITLE / (high / rows - TITLE)}
    grid = figure.subplots(rows, COLUMNS, squeeze=False, gridspec_kw=close | between)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, z in zip(grid.flat, slices, strict=False):
        panel(axes, gray[x, y, z], [], size)
        if case.truth is not None:
            outline(axes, case.truth[x, y, z], size, TRUTH)
        outline(axes, mask[x, y, z], size)
        axes.set_title(f"slice {z}", fontsize=9, color="white")
    return _image(figure), slices


def maps_png(case: Volumes) -> tuple[bytes, int]:
    """PNG of a case's maps, with colour bars, on the slice with the largest lesion area.

    Args:
        case: a case with at least one map.

    Returns:
        The picture, and the index along z.
    """
    z = _largest_slice(case)
    x, y, _ = _head(case.gray, case.mask)
    size = _size_mm(case.affine, case.gray[x, y].shape)
    figure = _black((4.4 * len(case.maps), 3.8 * size[1] / size[0]))
    for axes, (name, values) in zip(
        figure.subplots(1, len(case.maps), squeeze=False).flat, case.maps.items(), strict=True
    ):
        top = 1.0 if name == "probability" else float(values.max()) or 1.0
        shown = values[x, y, z][::-1].swapaxes(0, 1)
        panel(axes, np.zeros_like(case.gray[x, y, z]), [], size)
        drawn = axes.imshow(
            shown, origin="lower", extent=(0, size[0], 0, size[1]), cmap="cividis", vmin=0, vmax=top
        )
        outline(axes, case.mask[x, y, z], size)
        axes.set_title(name, color="white")
        scale = figure.colorbar(drawn, ax=axes, shrink=0.8)
        scale.ax.tick_params(colors="white")
    return _image(figure), z


def outline(
    axes: Axes, mask: NDArray[np.bool_], size_mm: tuple[float, float], color: str = LESION
) -> None:
    """Draw the outline of a region (X, Y) on a `panel` of ``size_mm``, if it has two dimensions."""
    if mask.any() and min(mask.shape) > 1:
        x, y = ((np.arange(n) + 0.5) * mm / n for n, mm in zip(mask.shape, size_mm, strict=True))
        shown = mask[::-1].swapaxes(0, 1).astype(float)
        axes.contour(x, y, shown, [0.5], colors=["black"], linewidths=2.2)  # visible on any gray
        axes.contour(x, y, shown, [0.5], colors=[color], linewidths=1.1)


def _largest_slice(case: Volumes) -> int:
    """The axial slice with the largest lesion area; the middle one if the mask is empty."""
    area = case.mask.sum(axis=(0, 1))
    if area.any():
        return int(area.argmax())
    slices = chosen_slices(case.image, case.mask)
    return slices[len(slices) // 2]


def _size_mm(affine: Array, shape: tuple[int, ...], axis: int = 2) -> tuple[float, float]:
    """In-plane extent of a slice perpendicular to an axis."""
    across, up = np.delete(np.linalg.norm(affine[:3, :3], axis=0) * shape, axis)
    return float(across), float(up)


def _head(gray: Array, mask: Array) -> tuple[slice, ...]:
    """The bounding box of non-black voxels and the mask."""
    seen = (gray > DARK) | mask
    sides = (np.flatnonzero(seen.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides)


def _black(inches: tuple[float, float]) -> Figure:
    layout = ConstrainedLayoutEngine(h_pad=0.1)  # inches above a title
    return Figure(inches, dpi=100, layout=layout, facecolor="black")


def _image(figure: Figure, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else None
    figure.savefig(buffer, format=kind, metadata=metadata, **options)
    return buffer.getvalue()
