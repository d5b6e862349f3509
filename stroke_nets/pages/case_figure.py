"""Draw one case: image, truth, prediction and their difference on one axial slice.

The difference follows Fig. 7 of AGMR-Net: false negatives yellow, false positives black; here true
positives are blue, and the slice is lightened so that black is visible.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from stroke_nets.errors import DataError
from stroke_nets.scans.reader import read_scan

Array = NDArray[Any]

SIDES = (
    "Radiological convention: the left of the picture is the patient's right (R), anterior is up. "
    "Slices are counted from 0 at the feet."
)
CONVENTION = f"Axial slice with the largest lesion area. {SIDES}"
LESION = "#ff7f0e"
SAMPLES = 10**6  # at most, of which percentiles are taken
# Blue, yellow and black also differ in lightness, so they are safe for colour blindness.
DIFFERENCE = {
    "correct": "#0072b2",
    "missed (false negative)": "#ffe100",
    "false alarm (false positive)": "#000000",
}


@dataclass(frozen=True)
class AxialSlice:
    """Slice `z` of a case in RAS orientation.

    Attributes:
        image: intensities of shape (X, Y).
        truth: bool mask of the same shape.
        prediction: bool mask of the same shape.
        spacing: pixel size along X and Y in mm.
        z: index of the slice, counted from 0 at the feet.
    """

    image: Array
    truth: Array
    prediction: Array
    spacing: tuple[float, float]
    z: int


def load_slice(image: Path, label: Path, prediction: Path) -> AxialSlice:
    """Read a case and choose its slice as `load_slices` does."""
    return load_slices(image, label, [prediction])[0]


def load_slices(
    image: Path,
    label: Path,
    predictions: Sequence[Path],
    choose: Callable[[Array, Array], int] | None = None,
) -> list[AxialSlice]:
    """Read the same slice of a case with each of several predictions.

    Args:
        image: the scan.
        label: its lesion mask.
        predictions: masks, at least one.
        choose: returns the index along z, given the truth and the first prediction, bool (X, Y, Z).
            By default the slice with the largest lesion area of the truth, or of the prediction if
            the truth is empty; the middle slice if both are.

    Raises:
        DataError: a file cannot be read or does not lie on the image's 3D grid.
    """
    volume, affine = read_ras(image)
    masks = []
    for path in (label, *predictions):
        voxels, mask_affine = read_ras(path)
        if voxels.shape != volume.shape or not np.allclose(mask_affine, affine, atol=1e-3):
            raise DataError(f"{path}: its grid is not that of {image.name}; resample it first")
        masks.append(voxels > 0.5)
    truth, *predicted = masks
    z = (choose or slice_of_interest)(truth, predicted[0])
    x, y, _ = (float(side) for side in nib.affines.voxel_sizes(affine))
    return [AxialSlice(volume[..., z], truth[..., z], p[..., z], (x, y), z) for p in predicted]


def read_ras(path: Path) -> tuple[Array, Array]:
    """Voxels of shape (X, Y, Z), reoriented to RAS, and their affine.

    Raises:
        DataError: the file cannot be used: see `stroke_nets.scans.reader`.
    """
    scan: Any = nib.as_closest_canonical(read_scan(path).image)
    return np.asanyarray(scan.dataobj), scan.affine


def slice_of_interest(truth: Array, predicted: Array) -> int:
    """Index along z of the largest lesion area, see `load_slices`."""
    for mask in (truth, predicted):
        if mask.any():
            return int(mask.sum(axis=(0, 1)).argmax())
    return truth.shape[2] // 2


def draw_png(case: AxialSlice) -> bytes:
    """Draw four panels (image, truth, prediction, difference) with a legend as PNG."""
    truth, predicted = case.truth, case.prediction
    width, height = (n * mm for n, mm in zip(case.image.shape, case.spacing, strict=True))
    size = (14, 3.5 * height / width + 0.7)
    figure = Figure(size, dpi=100, layout="constrained", facecolor="black")
    gray = gray_levels(case.image)
    panels: dict[str, tuple[Array, list[tuple[Array, str]]]] = {
        "Image": (gray, []),
        "Truth": (gray, [(truth, LESION)]),
        "Prediction": (gray, [(predicted, LESION)]),
        "Difference": (0.4 + 0.6 * gray, difference(case)),
    }
    for axes, (title, (back, masks)) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        panel(axes, back, masks, (width, height))
        axes.set_title(title, color="white")
    where: dict[str, Any] = {"loc": "outside lower right", "ncols": 3, "frameon": False}
    figure.legend(handles=difference_legend(edge="white"), labelcolor="white", **where)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def difference(case: AxialSlice) -> list[tuple[Array, str]]:
    """The regions of a difference map, (X, Y), with their colours."""
    truth, predicted = case.truth, case.prediction
    regions = [truth & predicted, truth & ~predicted, predicted & ~truth]
    return list(zip(regions, DIFFERENCE.values(), strict=True))


def difference_legend(edge: str = "none") -> list[Patch]:
    """The legend of a difference map, with edges of a colour."""
    return [
        Patch(facecolor=colour, edgecolor=edge, label=label) for label, colour in DIFFERENCE.items()
    ]


def gray_levels(image: Array) -> Array:
    """Scale intensities to [0, 1] between the 1st and 99.5th percentile."""
    image = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(image.ravel()[:: -(-image.size // SAMPLES)], (1, 99.5))
    return np.clip((image - low) / (high - low or 1), 0, 1)


def panel(
    axes: Axes,
    back: Array,
    masks: list[tuple[Array, str]],
    size_mm: tuple[float, float],
    letters: str = "RL",
) -> None:
    """Draw a slice (X, Y) with coloured regions; the first axis runs from right to left.

    Thus an axial slice in RAS is seen from the feet and a coronal one from the front (radiological
    convention); in a sagittal slice (Y, Z), the face is on the left.

    Args:
        axes: where to draw.
        back: gray levels in [0, 1].
        masks: regions and their colours; later ones are drawn on top.
        size_mm: extent of the slice along X and Y.
        letters: labels of the left and right side of the picture; none if empty.
    """
    colours = np.repeat(back[..., None], 3, axis=-1)
    for mask, colour in masks:
        colours[mask] = 0.1 * colours[mask] + 0.9 * np.array(to_rgb(colour))
    axes.imshow(colours[::-1].swapaxes(0, 1), origin="lower", extent=(0, size_mm[0], 0, size_mm[1]))
    axes.set_axis_off()
    for x, letter in zip((0.05, 0.95), letters, strict=False):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(x, 0.96, letter, color="black", bbox=box, **place)
