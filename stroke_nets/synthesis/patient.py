"""One simulated patient: from the design to the scan and its mask."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.template import Box, uncrop
from stroke_nets.synthesis.anatomy import bend_head, paint_head, sample_head
from stroke_nets.synthesis.appearance import draw_contrast, paint_lesion
from stroke_nets.synthesis.head import VENTRICLE, Float32, head
from stroke_nets.synthesis.lesions import draw_volumes, lesion_weight
from stroke_nets.synthesis.masks import bend_mask, bring_mask, mask_files
from stroke_nets.synthesis.plain import plain_patient
from stroke_nets.synthesis.scanner import scan
from stroke_nets.synthesis.territories import LEFT, RIGHT, draw_territory


@dataclass(frozen=True)
class Design:
    """What kind of patients to draw.

    Args:
        plain: the template's own voxels, brain only, with dark lesions: quick to learn; all other
            options are then ignored.
        skull: draw dura, skull and scalp; otherwise everything but the brain is 0.
        contrast: ``t1w``, or ``random`` intensities of all tissues.
        masks: folder of real lesion masks in MNI space to take lesions from; None to draw them.
        bend: strength of the deformation; 0 leaves the anatomy on the template.
    """

    plain: bool = False
    skull: bool = True
    contrast: Literal["t1w", "random"] = "t1w"
    masks: Path | None = None
    bend: float = 1.0


@dataclass(frozen=True)
class Stroke:
    """The lesions of one patient, all of the same age."""

    volumes: list[int]  # of the lesions, in voxels
    sides: list[int]  # LEFT or RIGHT, of each
    chronic: bool  # otherwise subacute
    mask: Path | None = None  # the real mask that gives the shape
    mirrored: bool = False  # whether it is mirrored left to right


def draw_stroke(rng: np.random.Generator, masks: Path | None = None) -> Stroke:
    """Draw the lesions of one patient, without their shapes and locations.

    Args:
        rng: random generator.
        masks: folder of real masks; None for lesions of log-normal volume.

    Raises:
        UsageError: ``masks`` holds no mask.
    """
    chronic = bool(rng.random() < 0.75)
    volumes = draw_volumes(rng)
    sides = rng.choice([LEFT, RIGHT], len(volumes)).tolist()
    if masks is None or not volumes:
        return Stroke(volumes, sides, chronic)
    files = mask_files(masks)
    mask = files[rng.integers(len(files))]
    return Stroke(volumes, sides, chronic, mask, mirrored=bool(rng.random() < 0.5))


def lesion_source(seed: int, index: int, design: Design) -> str | None:
    """The real mask that one patient's lesion is taken from; None if it was drawn.

    Patients with the same source have lesions of the same shape and belong in one fold.
    """
    if design.plain:
        return None
    mask = draw_stroke(np.random.default_rng([seed, index, 1]), design.masks).mask
    return mask.name if mask else None


def simulate_patient(
    seed: int, index: int, design: Design | None = None
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Simulate one patient; the affine of both volumes is ``template().affine``.

    Args:
        seed: seed of the data set, not negative.
        index: number of the patient, not negative.
        design: the kind of patient; ``Design()`` if None.

    Returns:
        T1w image (X, Y, Z), not negative, and lesion mask (X, Y, Z), 0 or 1.

    Raises:
        UsageError: ``design.masks`` holds no mask.
        DataError: a mask cannot be read or does not meet the brain.
    """
    design = design or Design()
    if design.plain:
        return plain_patient(seed, index)
    rng = np.random.default_rng([seed, index, 1])  # 1: a stream other than the plain patient's
    stroke, real = _with_mask(draw_stroke(rng, design.masks))
    contrast = draw_contrast(rng, design.contrast)
    source = bend_head(rng, design.bend, _swelling(rng, stroke))
    image, label = sample_head(paint_head(rng, contrast, design.skull), source)
    mask = np.zeros(image.shape, np.uint8)
    for box, weight in _lesions(rng, stroke, real, source, label):
        paint_lesion(rng, image, box, weight, contrast, stroke.chronic)
        mask[box] |= weight > 0.5
    voxels = scan(rng, image)
    if not design.skull:
        voxels[label < VENTRICLE] = 0
    return uncrop(voxels, head().box), uncrop(mask, head().box)


def _with_mask(stroke: Stroke) -> tuple[Stroke, NDArray[np.bool_] | None]:
    """The stroke with volume and side of its real mask, and the mask in the template's space."""
    if stroke.mask is None:
        return stroke, None
    real = bring_mask(stroke.mask, stroke.mirrored)
    right = int(real[round(head().middle) :].sum()) > int(real.sum()) / 2
    return replace(stroke, volumes=[int(real.sum())], sides=[RIGHT if right else LEFT]), real


def _swelling(rng: np.random.Generator, stroke: Stroke) -> tuple[float, float]:
    """Outward displacement in mm of the left and right ventricular walls due to the lesions.

    The ventricle expands towards a chronic lesion; a subacute one compresses it.
    """
    moved = {LEFT: 0.0, RIGHT: 0.0}
    for voxels, side in zip(stroke.volumes, stroke.sides, strict=True):
        pull = rng.uniform(0.02, 0.07) if stroke.chronic else rng.uniform(-0.04, 0)
        moved[side] += float(pull * voxels ** (1 / 3))
    return moved[LEFT], moved[RIGHT]


def _lesions(
    rng: np.random.Generator,
    stroke: Stroke,
    real: NDArray[np.bool_] | None,
    source: Float32,
    label: NDArray[np.uint8],
) -> Iterator[tuple[Box, NDArray[np.floating]]]:
    """The box and weights of each lesion, outside the ventricles and any earlier lesion."""
    if real is not None:
        bent = bend_mask(real, source) * (label >= VENTRICLE)
        box = ndimage.find_objects((bent > 0).astype(np.int8))[0]
        yield box, bent[box]
        return
    free = label >= LEFT
    for voxels, side in zip(stroke.volumes, stroke.sides, strict=True):
        here = free & ((label >= RIGHT) == (side == RIGHT))
        box, weight = lesion_weight(rng, voxels, here, home=label == side + draw_territory(rng))
        free[box] &= weight <= 0.5
        yield box, weight
