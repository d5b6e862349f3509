"""One case as a picture: image, truth, prediction and their difference on one axial slice.

The difference follows Fig. 7 of AGMR-Net: false negatives yellow, false positives black; here over
a lightened slice, so that black shows, and with the agreement in blue.
"""

import io
import zlib
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
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from stroke_nets.errors import DataError

Array = NDArray[Any]

SIDES = (
    "Radiological convention: the left of the picture is the patient's right (R), anterior is up. "
    "Slices are counted from 0 at the feet."
)
CONVENTION = f"Axial slice with the largest lesion area. {SIDES}"
LESION = "#ff7f0e"
# Blue, yellow and black differ in lightness too: the colour-blind can tell them apart.
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
        choose: index along z from the truth and the first prediction, bool of shape (X, Y, Z). By
            default the largest lesion area of the truth, or of the prediction where the truth is
            empty; the middle slice where both are.

    Raises:
        DataError: a file that cannot be read, or that does not lie on the image's 3D grid.
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
    """Voxels of shape (X, Y, Z), turned to RAS, and their affine.

    Raises:
        DataError: a file that cannot be read, or not of three dimensions.
    """
    try:
        scan: Any = nib.as_closest_canonical(nib.squeeze_image(nib.load(path)))
        voxels = np.asanyarray(scan.dataobj)
    except (OSError, EOFError, zlib.error, ImageFileError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if voxels.ndim != 3:
        raise DataError(f"{path}: has shape {voxels.shape}, not three dimensions")
    return voxels, scan.affine


def slice_of_interest(truth: Array, predicted: Array) -> int:
    """Index along z of the largest lesion area: see `load_slices`."""
    for mask in (truth, predicted):
        if mask.any():
            return int(mask.sum(axis=(0, 1)).argmax())
    return truth.shape[2] // 2


def draw_png(case: AxialSlice) -> bytes:
    """PNG of four panels (image, truth, prediction, difference) with a legend."""
    truth, predicted = case.truth, case.prediction
    width, height = (n * mm for n, mm in zip(case.image.shape, case.spacing, strict=True))
    figure = Figure(figsize=(14, 3.5 * height / width + 0.7), dpi=100, layout="constrained")
    gray = gray_levels(case.image)
    panels: dict[str, tuple[Array, list[tuple[Array, str]]]] = {
        "Image": (gray, []),
        "Truth": (gray, [(truth, LESION)]),
        "Prediction": (gray, [(predicted, LESION)]),
        "Difference": (0.4 + 0.6 * gray, difference(case)),
    }
    for axes, (title, (back, masks)) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        panel(axes, back, masks, (width, height))
        axes.set_title(title)
    figure.legend(handles=difference_legend(), loc="outside lower right", ncols=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def difference(case: AxialSlice) -> list[tuple[Array, str]]:
    """The regions of a difference map, (X, Y), with their colours."""
    truth, predicted = case.truth, case.prediction
    regions = [truth & predicted, truth & ~predicted, predicted & ~truth]
    return list(zip(regions, DIFFERENCE.values(), strict=True))


def difference_legend() -> list[Patch]:
    """What the colours of a difference map mean."""
    return [Patch(facecolor=colour, label=label) for label, colour in DIFFERENCE.items()]


def gray_levels(image: Array) -> Array:
    """Intensities to [0, 1] between the 1st and 99.5th percentile."""
    image = np.nan_to_num(image.astype(np.float64))
    low, high = np.percentile(image, (1, 99.5))
    return np.clip((image - low) / (high - low or 1), 0, 1)


def panel(
    axes: Axes,
    back: Array,
    masks: list[tuple[Array, str]],
    size_mm: tuple[float, float],
    letters: str = "RL",
) -> None:
    """One slice (X, Y) with coloured regions; the picture's left is the end of the first axis.

    An axial slice in RAS is so seen from the feet, a coronal one from the front: x runs from the
    patient's right to the left. A sagittal one, (Y, Z), looks to the left of the picture.

    Args:
        axes: where to draw.
        back: gray levels in [0, 1].
        masks: regions and their colours; a later one covers an earlier one.
        size_mm: extent of the slice along X and Y.
        letters: what marks the left and the right of the picture; none if empty.
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
