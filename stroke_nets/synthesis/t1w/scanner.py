"""Effects of the scanner and of preprocessing on an image."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stroke_nets.synthesis.t1w.anatomy import Head
from stroke_nets.synthesis.t1w.fields import Rng, smooth_field, soften, spread, white_noise
from stroke_nets.synthesis.t1w.tissues import Contrast


def scan(rng: Rng, image: Tensor, white: float) -> Tensor:
    """Add shading, thick slices or blur, and sometimes motion ghosts.

    Args:
        rng: random generator.
        image: (X, Y, Z).
        white: intensity of white matter.
    """
    image = image * torch.exp(
        smooth_field(rng, rng.uniform(25, 50), image.shape) * rng.uniform(0, 0.16)
    )
    if rng.random() < 0.3:
        axis = int(rng.integers(3))
        image = _thick_slices(image, axis, rng.uniform(1.3, 3.0))
    else:
        image = soften(image, float(rng.uniform(0, 0.28)))
    if rng.random() < 0.15:
        axis = int(rng.integers(3))
        ghost = rng.uniform(0.02, 0.07)
        away = int(image.shape[axis] / rng.integers(2, 6))
        image = 0.93 * image + ghost * torch.roll(image, away, axis)
    return image


def _thick_slices(image: Tensor, axis: int, thickness: float) -> Tensor:
    """Resample along one axis to slices of ``thickness`` voxels, and back."""
    size = list(image.shape)
    size[axis] = max(8, int(size[axis] / thickness))
    for target in (size, list(image.shape)):
        image = F.interpolate(
            image[None, None], size=target, mode="trilinear", align_corners=False
        )[0, 0]
    return image


def process(rng: Rng, image: Tensor, outline: Tensor, head: Head, gone: Tensor | None) -> Tensor:
    """Skull-strip some patients, and crop the field of view of a few.

    Args:
        rng: random generator.
        image: (X, Y, Z).
        outline: lesion outline; voxels removed from the image are cleared in it, in place.
        head: head of the patient.
        gone: fraction of each voxel's tissue lost to lesions; None without lesions.
    """
    kind = rng.random()
    if kind < 0.3:
        return image * _stripped(rng, head, gone)
    if kind < 0.36:
        axis = int(rng.integers(3))
        width = int(rng.integers(3, 14))
        start = 0 if rng.random() < 0.5 else image.shape[axis] - width
        for volume in (image, outline):
            volume.narrow(axis, start, width).zero_()
    return image


def _stripped(rng: Rng, head: Head, gone: Tensor | None) -> Tensor:
    """What a skull-stripping tool keeps; it often removes a cavity at the surface."""
    kept = head.brain + head.sulci * rng.uniform(0.2, 1) + head.ventricle
    if gone is not None and rng.random() < 0.5:
        kept = kept - gone * rng.uniform(0, 1) * (1 - spread(head.brain, 9)) * 2
    return soften(kept.clamp(0, 1), 0.25) > rng.uniform(0.25, 0.6)


def read_out(rng: Rng, image: Tensor, contrast: Contrast) -> Tensor:
    """Add noise and apply a tone curve."""
    noise = white_noise(rng, image.shape) * float(contrast.white * rng.uniform(0, 0.05))
    image = (image + noise).clamp_min(0)
    return (image / contrast.white) ** float(np.exp(rng.uniform(-0.2, 0.2)))
