"""Intensities of tissues and lesions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.template import Box
from stroke_nets.synthesis.fields import smooth_field


@dataclass(frozen=True)
class Contrast:
    """Intensities of one patient; white matter of a T1w scan is about 0.9."""

    tissues: tuple[float, float, float]  # fluid, grey matter, white matter
    lesion: float  # intensity that a cavity approaches: fluid in a T1w scan
    detail: float  # fraction of the template's own detail that is kept, mainly in deep nuclei
    sharpness: float  # of the borders between tissues; 1: as blurred as the averaged template
    atrophy: float  # weight of fluid at those borders; above 1 the sulci are wide
    dura: float
    bone: float
    marrow: float
    scalp: float
    muscle: float


def draw_contrast(rng: np.random.Generator, kind: str) -> Contrast:
    """The intensities of one patient.

    Args:
        rng: random generator.
        kind: ``t1w``: fluid and bone dark, white matter and fat bright; ``random``: arbitrary, and
            lesions may be brighter than any tissue.
    """
    sharpness, atrophy = rng.uniform(1.3, 2.4), np.exp(rng.normal(0.3, 0.4))
    if kind == "random":
        draw = rng.uniform(0.05, 1.0, 8).tolist()
        detail, lesion = rng.uniform(-1, 1), float(rng.uniform(0.05, 1.5))
    else:
        means = (0.26, 0.62, 0.88, 0.35, 0.08, 0.40, 0.95, 0.45)
        widths = (0.04, 0.04, 0.03, 0.08, 0.03, 0.12, 0.15, 0.08)
        draw = np.maximum(rng.normal(means, widths), 0.02).tolist()
        detail, lesion = rng.uniform(0.5, 1.5), draw[0]
    fluid, grey, white, dura, bone, marrow, scalp, muscle = draw
    tissues = (fluid, grey, white)
    return Contrast(tissues, lesion, detail, sharpness, atrophy, dura, bone, marrow, scalp, muscle)


def paint_lesion(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    box: Box,
    weight: NDArray[np.floating],
    contrast: Contrast,
    chronic: bool,
) -> None:
    """Paint one lesion into an image.

    A chronic lesion is either a cavity about as dark as fluid, with a gliotic rim and strands of
    gliosis, or ragged: tissue full of small holes that keeps its folds. A subacute lesion has less
    contrast with fluid and keeps a trace of the original tissue.

    Args:
        rng: random generator.
        image: modified in place.
        box: the voxels that ``weight`` covers.
        weight: lesion fraction of each voxel, in [0, 1].
        contrast: intensities of the patient.
        chronic: chronic if true, otherwise subacute.
    """
    _, grey, white = contrast.tissues
    dead, tissue = contrast.lesion, image[box]
    texture = 0.03 * smooth_field(rng, weight.shape, 6)
    if chronic and rng.random() < 0.5:
        fine = smooth_field(rng, weight.shape, rng.uniform(1.5, 3.0))
        holes = rng.uniform(0.45, 0.85) + 0.3 * fine + 0.2 * smooth_field(rng, weight.shape, 8)
        painted = tissue + np.clip(holes, 0, 1) * (dead - tissue)
    elif chronic:
        thickness = min(2.0, 0.2 * float((weight > 0.5).sum()) ** (1 / 3))  # of the rim, mm
        inner = ndimage.gaussian_filter(weight, thickness)
        strands = rng.uniform(0, 0.25) * smooth_field(rng, weight.shape, 4)
        cavity = np.clip((inner - 0.6 + strands) / rng.uniform(0.15, 0.35), 0, 1)
        gliosis = 0.5 * tissue + 0.5 * (dead + rng.uniform(0.25, 0.6) * (grey - dead))
        core = dead + rng.uniform(0, 0.25) * (grey - dead)
        painted = gliosis + cavity * (core - gliosis)
    else:
        fade = rng.uniform(0.4, 0.8)
        painted = tissue + fade * (dead + 0.3 * (grey - dead) - tissue)
    image[box] = tissue + weight * (painted + texture * white - tissue)
