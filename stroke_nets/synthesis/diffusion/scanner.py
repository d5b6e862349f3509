"""Effects of an echo-planar acquisition on the signals at b = 0 and b = 1000.

Both suffer alike from distortion, pile-up and shading, so what is bright in DWI by these alone is
not dark in the ADC.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stroke_nets.synthesis.t1w.anatomy import Head
from stroke_nets.synthesis.t1w.fields import Rng, dilate, smooth_field, soften, white_noise
from stroke_nets.transforms.brain_box import AFFINE

PHASE, SLICE = 1, 2  # axes: anterior and superior
AIR_CELLS = ((53.0, -12.0, -33.0), (8.0, 58.0, -26.0))  # mm, left: petrous bone, sinuses
PILE_UP = (-20.0, -4.0)  # shift of the signal at their middle, in voxels
WIDTHS = ((4.0, 3.0, 3.5), (9.0, 6.5, 7.5))  # of the shifted region, in voxels
LOW = 0.45  # of the brain's height, below which it borders on air cells


def distort(rng: Rng, volumes: Tensor, head: Head) -> Tensor:
    """Distort along the phase-encoding axis, near air most; signals pile up where they meet.

    Args:
        rng: random generator.
        volumes: two signals and further volumes, which are moved alone, (C, X, Y, Z).
        head: tells where the brain borders on air.
    """
    shift = _field(rng, head)
    moved = _moved(volumes, shift)
    slope = torch.diff(shift, dim=PHASE, append=shift.narrow(PHASE, -1, 1))
    moved[:2] *= (1 + slope).clamp(0.3, 4)
    return moved


def _field(rng: Rng, head: Head) -> Tensor:
    """Shift of each voxel along the phase-encoding axis, in voxels, (X, Y, Z)."""
    brain = head.brain > 0.5
    lowest = torch.nonzero(brain.any(0).any(0))
    top = int(lowest.min() + LOW * (lowest.max() - lowest.min())) if len(lowest) else 0
    rim = brain & (dilate(1 - head.brain.clamp(0, 1)) > 0.7)
    places = np.argwhere(rim[:, :, :top].numpy())
    shift = smooth_field(rng, 25, brain.shape) * rng.uniform(0, 0.4)
    for _ in range(int(rng.integers(8, 28)) if len(places) else 0):
        place = places[rng.integers(len(places))]
        shift += float(rng.uniform(-2, 4)) * _bump(brain.shape, place, rng.uniform(1.2, 4.0, 3))
    for mm in AIR_CELLS if rng.random() < 0.9 else ():
        strength, widths = rng.uniform(*PILE_UP), rng.uniform(*WIDTHS)
        for side in (-1, 1):
            place = np.linalg.solve(AFFINE, [side * mm[0], *mm[1:], 1])[:3]
            place, here = place + rng.normal(0, 1, 3), widths * rng.uniform(0.85, 1.15, 3)
            shift += strength * rng.uniform(0.75, 1.25) * _bump(brain.shape, place, here)
    return shift


def _bump(shape: Sequence[int], place: NDArray[Any], widths: NDArray[Any]) -> Tensor:
    """A Gaussian of height 1; its place and standard deviations are in voxels."""
    x, y, z = (
        torch.exp(-0.5 * ((torch.arange(side) - float(at)) / float(width)) ** 2)
        for side, at, width in zip(shape, place, widths, strict=True)
    )
    return x[:, None, None] * y[:, None] * z


def _moved(volumes: Tensor, shift: Tensor) -> Tensor:
    """Sample (C, X, Y, Z) at ``shift`` voxels along the phase-encoding axis, linearly."""
    side = volumes.shape[1 + PHASE]
    along = (torch.arange(side, dtype=torch.float32).view(1, side, 1) + shift).clamp(0, side - 1)
    below = along.floor().clamp_max(side - 2)
    share, index = along - below, below.long().expand_as(volumes)
    low = volumes.gather(1 + PHASE, index)
    return torch.lerp(low, volumes.gather(1 + PHASE, index + 1), share)


def acquire(rng: Rng, signals: Tensor) -> Tensor:
    """Shade, blur, cut into slices, add Nyquist ghosts and Rician noise; (2, X, Y, Z)."""
    shape = signals.shape[1:]
    shade = torch.exp(smooth_field(rng, rng.uniform(25, 50), shape) * rng.uniform(0, 0.15))
    signals = signals * shade
    blur = float(rng.uniform(0, 0.2))
    signals = torch.stack([soften(one, blur) for one in signals])
    step = int(rng.choice((-1, 1)))  # eddy currents move the weighted image by part of a voxel
    signals[1].lerp_(signals[1].roll(step, PHASE), float(rng.uniform(0, 0.35)))
    if rng.random() < 0.15:
        ghost = float(rng.uniform(0.01, 0.05))
        signals = signals + ghost * signals.roll(shape[PHASE] // 2, 1 + PHASE)
    size = list(shape)
    if rng.random() < 0.65:  # slices of 3 to 7 mm; others of 2 mm
        size[SLICE] = int(shape[SLICE] / rng.uniform(1.5, 3.5))
        signals = F.interpolate(signals[None], size=size, mode="area")[0]
    deviation = float(np.exp(rng.uniform(np.log(0.015), np.log(0.09))))
    noise = deviation * white_noise(rng, (2, 2, *size))
    noise[:, 1] *= 0.6  # several directions are averaged
    signals = torch.hypot(signals + noise[0], noise[1])
    if size != list(shape):
        signals = F.interpolate(signals[None], size=shape, mode="trilinear")[0]
    return signals


def field_of_view(rng: Rng, shape: tuple[int, ...]) -> Tensor:
    """What is in view, bool, (X, Y, Z): in a few patients the lowest or highest slices are not."""
    seen = torch.ones(shape, dtype=torch.bool)
    if rng.random() < 0.08:
        width = int(rng.integers(2, 12))
        start = 0 if rng.random() < 0.6 else shape[SLICE] - width
        seen.narrow(SLICE, start, width).zero_()
    return seen


def stripped(rng: Rng, brain: Tensor, fluid: Tensor) -> Tensor:
    """What a brain-extraction tool keeps, bool: brain, fluid, and often a rim of dark voxels."""
    kept = (brain + fluid * float(rng.uniform(0.2, 1))).clamp(0, 1)
    return soften(soften(kept, 0.3), 0.3) > float(rng.uniform(0.08, 0.5))
