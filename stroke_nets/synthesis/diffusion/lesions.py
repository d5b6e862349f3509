"""Infarcts in diffusion MRI: acute ones, which a rater outlines, and old ones.

Within an acute infarct the ADC falls, deepest in its core, and T2 rises with the hours. A random
field gives the fraction of each voxel's tissue that is infarcted. The outline covers what is
visibly brighter at b = 1000 than healthy tissue. In an old infarct the ADC is high: it is bright at
b = 0 and about as bright as tissue, or darker, in DWI.
"""

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.diffusion.signals import Signals, weighted
from stroke_nets.synthesis.t1w.anatomy import Head, box_around
from stroke_nets.synthesis.t1w.fields import Rng, average, smooth_field, soften
from stroke_nets.synthesis.t1w.lesion_shapes import CENTRE, VOXEL_ML, draw_blob, draw_shape
from stroke_nets.synthesis.t1w.sources import Sources

MARGIN = 3  # voxels
FEWEST = 3  # voxels of an outline; smaller lesions are dropped
VISIBLE = 0.2  # rise in DWI relative to healthy tissue, averaged over about 2 voxels
CORE_ADC = (0.30, 0.65)  # um2/ms
PSEUDONORMAL_ADC = (0.65, 0.85)  # some days later
OLD_ADC = (1.2, 2.8)


def draw_shapes(rng: Rng, sources: Sources, head: Head, plain: bool) -> list[Tensor]:
    """The fractions of each voxel that the lesions of one stroke cover, (X, Y, Z) each.

    One lesion, or a few, or an embolic shower of small ones around it.
    """
    if not plain and rng.random() < 0.35:
        small = np.exp(rng.uniform(np.log(0.05), np.log(8.0)))
        first = draw_blob(rng, head.tissue(), float(small) / VOXEL_ML)
    else:
        first = draw_shape(rng, sources, head, plain)
    if plain or rng.random() < 0.4:
        return [first]
    if rng.random() < 0.4:
        return [first, *(draw_shape(rng, sources, head, plain) for _ in range(rng.integers(1, 3)))]
    near = (soften(first, 0.3) > 0.01).float() if rng.random() < 0.3 else torch.ones(())
    side = torch.zeros(head.brain.shape)
    half = len(side) // 2
    side[:half] = float(first[:half].sum() > first[half:].sum()) or float(rng.random() < 0.3)
    side[half:] = 1 - side[:half].max() or float(rng.random() < 0.3)
    where = head.tissue() * side * near
    if not (where > CENTRE).any():
        return [first]
    ml = np.exp(rng.uniform(np.log(0.03), np.log(1.5), rng.integers(1, 12)))
    return [first, *(draw_blob(rng, where, float(one) / VOXEL_ML) for one in ml)]


def add_acute(rng: Rng, head: Head, shapes: list[Tensor], signals: Signals, plain: bool) -> Tensor:
    """Paint the lesions of one stroke, which are of one age, into a head in place.

    Args:
        rng: random generator, for their appearance.
        head: modified in place.
        shapes: of `draw_shapes`.
        signals: of the patient.
        plain: even infarcts with a low ADC.

    Returns:
        The outline, bool, (X, Y, Z).
    """
    late = not plain and rng.random() < 0.2
    adc = float(rng.uniform(*(PSEUDONORMAL_ADC if late else CORE_ADC)))
    rise = float(rng.uniform(1.3, 1.9) if late else rng.uniform(1.05, 1.7))  # of b = 0, by T2
    outline = torch.zeros(head.brain.shape, dtype=torch.bool)
    for shape in shapes:
        box = box_around(shape, MARGIN)
        if box is None:
            continue
        part, share = head.part(box), shape[box]
        infarcted = _infarcted(rng, share, float(shape.sum()) * VOXEL_ML, plain)
        uneven = torch.exp(rng.uniform(0.05, 0.2) * smooth_field(rng, 2.5, share.shape))
        painted, change = _paint(part, infarcted, adc * uneven * rng.uniform(0.9, 1.15), rise)
        seen = soften(change / signals.white[1], 0.2) > VISIBLE
        seen &= (share > 0.15) & (part.tissue() > 0.25)
        if seen.sum() >= FEWEST:
            part.image.copy_(painted)
            outline[box] |= seen
    return outline


def _infarcted(rng: Rng, share: Tensor, ml: float, plain: bool) -> Tensor:
    """Fraction of each voxel's tissue that is infarcted: most in the core, less at the rim."""
    if plain or ml < 0.5:
        return share * rng.uniform(0.85, 1.0)
    depth = 0.5 * (average(share) + share)
    clumps = smooth_field(rng, rng.uniform(2, 6), share.shape)
    clumps = clumps + 0.5 * smooth_field(rng, 1.7, share.shape)
    level, rough = rng.uniform(0.2, 2.5), rng.uniform(0.5, 1.6)
    core = torch.sigmoid((clumps * rough + level + 3 * (depth - 0.7)) * rng.uniform(1, 3))
    return core * torch.sigmoid((depth - rng.uniform(0.35, 0.55)) * rng.uniform(8, 16)) * share


def _paint(
    part: Head, infarcted: Tensor, adc: float | Tensor, rise: float
) -> tuple[Tensor, Tensor]:
    """Both signals with a fraction of the tissue infarcted, and its rise at b = 1000."""
    tissue = part.tissue()
    changed = infarcted * tissue
    healthy = part.image.clamp_min(0)
    infarct = weighted(healthy[0] * rise, adc)
    painted = torch.lerp(healthy, infarct, changed)
    return painted, (painted - healthy)[1]


def add_old(rng: Rng, head: Head, shape: Tensor) -> Tensor:
    """Paint an old infarct into a head, in place; return its outline, bool, (X, Y, Z)."""
    outline = torch.zeros(head.brain.shape, dtype=torch.bool)
    box = box_around(shape, MARGIN)
    if box is None:
        return outline
    part, share = head.part(box), shape[box]
    lost = _infarcted(rng, share, float(shape.sum()) * VOXEL_ML, False)
    uneven = torch.exp(0.2 * smooth_field(rng, 3, share.shape))
    painted, _ = _paint(part, lost, rng.uniform(*OLD_ADC) * uneven, rng.uniform(1.3, 3.0))
    part.image.copy_(painted)
    outline[box] = lost * part.tissue() > 0.4
    return outline
