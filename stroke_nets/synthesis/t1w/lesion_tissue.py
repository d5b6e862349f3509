"""What a chronic infarct looks like in T1w, and which part of it a rater outlines.

A random field gives the fraction of tissue that is lost: all of it in a cavity, which is as dark as
fluid, some in the ragged tissue around it, none in gliosis, which is as grey as cortex. Nearby
sulci and ventricles expand. The outline covers visibly changed tissue and the widened sulci
between, but nothing that looks healthy: a network trained to find what cannot be seen would learn
to guess typical locations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.anatomy import Head, box_around
from stroke_nets.synthesis.t1w.fields import Rng, average, dilate, smooth_field, soften, spread
from stroke_nets.synthesis.t1w.lesion_shapes import VOXEL_ML
from stroke_nets.synthesis.t1w.tissues import Contrast

MARGIN = 8  # voxels around a lesion in which its surroundings change
FEWEST = 5  # voxels of an outline; smaller lesions are dropped
VISIBLE = 0.22  # of the change from cortex to fluid, averaged over 2 to 3 voxels


@dataclass(frozen=True)
class Lesion:
    """One lesion in its patient's box.

    Attributes:
        outline: what a rater marks, bool.
        gone: fraction of each voxel's tissue that is lost.
    """

    outline: Tensor
    gone: Tensor


def add_lesion(rng: Rng, head: Head, shape: Tensor, contrast: Contrast, plain: bool) -> Lesion:
    """Paint one lesion into a head, in place.

    Args:
        rng: random generator, for its appearance.
        head: modified in place, unless the lesion would be invisible.
        shape: fraction of each voxel that the lesion covers, (X, Y, Z).
        contrast: intensities of the patient.
        plain: paint a uniform cavity.
    """
    whole = torch.zeros(shape.shape, dtype=torch.bool), torch.zeros(shape.shape)
    box = box_around(shape, MARGIN)
    if box is None:
        return Lesion(*whole)
    part = head.part(box)
    share, ml = shape[box], float(shape.sum()) * VOXEL_ML
    depth = 0.5 * (average(average(share)) + average(share))
    dark = _darkness(rng, contrast)
    lost = _lost(rng, depth, ml, plain)
    edge = torch.sigmoid((depth - rng.uniform(0.35, 0.55)) * rng.uniform(8, 16))
    if ml < 1:
        edge = torch.maximum(edge, 0.9 * share)
        lost = lost.clamp_min(rng.uniform(0.5, 0.9))
    edge = edge * (share > 0.05)
    painted = _paint(rng, part, lost, edge, dark, contrast)
    painted = _shrink(rng, part, painted, share, edge, ml, contrast)
    outline = _outline(part, painted, edge, depth if ml >= 1 else share, ml, contrast)
    if outline.sum() >= FEWEST:
        head.image = head.image.clone()
        head.image[box] = painted
        whole[0][box], whole[1][box] = outline, edge * lost
    return Lesion(*whole)


def _darkness(rng: Rng, contrast: Contrast) -> float:
    """Intensity of a cavity: often darker than other fluid, as in real scans."""
    if rng.random() < 0.7:
        dark = contrast.white * rng.uniform(0.04, 0.28)
    else:
        dark = contrast.fluid * rng.uniform(0.8, 1.2)
    return float(min(dark, 0.7 * contrast.grey))


def _lost(rng: Rng, depth: Tensor, ml: float, plain: bool) -> Tensor:
    """Fraction of tissue that is lost: most deep inside, less at the rim, with strands."""
    kind = rng.random()
    if plain or kind < 0.62 or ml < 1:
        level = rng.uniform(0.4, 2.6)  # a cavity
    elif kind < 0.88:
        level = rng.uniform(-0.6, 0.8)  # cavities and gliosis
    else:
        level = rng.uniform(-2.2, -0.4)  # mainly gliosis
    rough = 0.6 if plain else rng.uniform(0.7, 1.9)
    clumps = smooth_field(rng, rng.uniform(2, 7), depth.shape)
    clumps = (clumps + 0.5 * smooth_field(rng, 1.7, depth.shape)) * rough
    return torch.sigmoid((clumps + level + 3 * (depth - 0.75)) * rng.uniform(1, 3.5))


def _paint(
    rng: Rng, part: Head, lost: Tensor, edge: Tensor, dark: float, contrast: Contrast
) -> Tensor:
    """Paint the lost and the remaining tissue."""
    strength, grey = rng.uniform(0.5, 1.0), contrast.grey * rng.uniform(0.8, 1.0)
    bright = (part.image > contrast.grey).float()
    left = part.image + strength * part.white.clamp(0, 1) * (grey - part.image) * bright  # gliosis
    left = left * (1 - (1 - part.white) * rng.uniform(0, 0.2))
    painted = lost * (dark + 0.5 * part.texture) + (1 - lost) * left
    least = torch.minimum(painted, part.image + 0.1 * contrast.white)  # fluid stays fluid
    painted = torch.where(part.image < painted, least, painted)
    return (part.image + edge * (painted - part.image)).clamp_min(0)


def _shrink(
    rng: Rng,
    part: Head,
    painted: Tensor,
    share: Tensor,
    edge: Tensor,
    ml: float,
    contrast: Contrast,
) -> Tensor:
    """Widen sulci and, often, the ventricle near the lesion."""
    near = spread(share, 12)
    wide = (dilate(part.sulci) - part.sulci).clamp(0, 1)
    wide = wide * (near * rng.uniform(0.5, 2.5)).clamp(0, 1) * part.brain.clamp(0, 1)
    painted = painted + wide * (contrast.fluid - painted).clamp_max(0)
    if rng.random() < 0.6:
        grown = dilate(part.ventricle)
        grown = dilate(grown) if ml > 20 and rng.random() < 0.6 else grown
        added = (grown - part.ventricle).clamp(0, 1) * (1 - edge)
        added = added * (near * rng.uniform(1, 3)).clamp(0, 1)
        painted = painted + added * (contrast.fluid - painted).clamp_max(0)
    return painted


def _outline(
    part: Head, painted: Tensor, edge: Tensor, depth: Tensor, ml: float, contrast: Contrast
) -> Tensor:
    """Tissue that has visibly changed, averaged over 2 to 3 voxels, and fluid surrounded by it."""
    full = max(contrast.grey - contrast.fluid, 0.2 * contrast.white)
    seen = ((part.image - painted) / full).clamp(0, 1)
    fluid = (part.sulci + part.ventricle).clamp(0, 1)
    amid = part.sulci * edge * average(average(seen)).clamp(0, 0.5) * 2
    change = (seen * (1 - fluid) + amid) * edge.clamp(0, 1)
    change = soften(soften(change, 0.25), 0.25)
    outline = (change > (VISIBLE if ml >= 1 else 0.8 * VISIBLE)) & (depth > 0.3)
    in_ventricle = (part.ventricle > 0.6) & (edge < 0.5)
    in_skull = average(part.brain + part.sulci + part.ventricle) > 0.3
    return outline & ~in_ventricle & in_skull
