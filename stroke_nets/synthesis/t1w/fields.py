"""Smooth random fields, random maps and the filters used to make patients.

Volumes are float32 tensors (X, Y, Z). Filters combine three neighbours along one axis at a time,
which takes a tenth of the time of 3D pooling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Rng = np.random.Generator


def white_noise(rng: Rng, shape: Sequence[int]) -> Tensor:
    """Standard normal values, one for each voxel."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def smooth_field(rng: Rng, spacing: float, shape: Sequence[int]) -> Tensor:
    """Standard normal values about ``spacing`` voxels apart, linearly interpolated."""
    return smooth_fields(rng, 1, spacing, shape)[0]


def smooth_fields(rng: Rng, count: int, spacing: float, shape: Sequence[int]) -> Tensor:
    """Several fields like `smooth_field`: (count, X, Y, Z)."""
    knots = [max(2, round(side / spacing) + 1) for side in shape]
    values = white_noise(rng, (1, count, *knots))
    return F.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def dilate(volume: Tensor) -> Tensor:
    """Maximum over the 27 voxels around each."""
    return _along_axes(volume, lambda here, a, b: torch.maximum(torch.maximum(a, b), here))


def average(volume: Tensor) -> Tensor:
    """Mean over the 27 voxels around each."""
    return _along_axes(volume, lambda here, a, b: (here + a + b) * (1 / 3))


def soften(volume: Tensor, weight: float) -> Tensor:
    """Blur: along each axis, both neighbours of a voxel contribute with ``weight``."""
    return _along_axes(volume, lambda here, a, b: here * (1 - 2 * weight) + (a + b) * weight)


def spread(volume: Tensor, width: float) -> Tensor:
    """Coarse, fast mean over about ``width`` voxels."""
    thin = F.avg_pool3d(volume[None, None], 4, 4)
    size = max(1, round(width / 4)) | 1
    thin = F.avg_pool3d(thin, size, 1, size // 2, count_include_pad=False)
    return F.interpolate(thin, size=volume.shape, mode="trilinear", align_corners=False)[0, 0]


def _along_axes(volume: Tensor, combine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each voxel with its two neighbours along x, y and z; borders are replicated."""
    for axis, side in enumerate(volume.shape):
        below = torch.cat([volume.narrow(axis, 0, 1), volume.narrow(axis, 0, side - 1)], axis)
        above = torch.cat(
            [volume.narrow(axis, 1, side - 1), volume.narrow(axis, side - 1, 1)], axis
        )
        volume = combine(volume, below, above)
    return volume


@dataclass(frozen=True)
class Bend:
    """Maximum rotation, scaling, shift and deformation of a random map; lengths in voxels."""

    rotation: float  # radians, about each axis, at most
    scaling: float  # along each axis, at most
    shift: float  # along each axis, at most
    waves: tuple[tuple[float, float], ...]  # spacing and standard deviation of displacements


def random_map(rng: Rng, bend: Bend, mirrored: bool, shape: Sequence[int]) -> Tensor:
    """Where each voxel comes from, as `resample` takes it: (1, X, Y, Z, 3)."""
    linear = _rotation(rng.uniform(-bend.rotation, bend.rotation, 3))
    linear = linear @ np.diag(rng.uniform(1 - bend.scaling, 1 + bend.scaling, 3))
    if mirrored:
        linear[:, 0] *= -1
    half = (np.array(shape) - 1) / 2
    shift = rng.uniform(-bend.shift, bend.shift, 3).tolist()
    axes = [torch.arange(n, dtype=torch.float32) - h for n, h in zip(shape, half, strict=True)]
    x, y, z = axes[0].view(-1, 1, 1), axes[1].view(1, -1, 1), axes[2].view(1, 1, -1)
    source = torch.empty(3, *shape)
    for axis, (a, b, c) in enumerate(torch.tensor(linear, dtype=torch.float32)):
        source[axis] = a * x + b * y + c * z + shift[axis]
    for spacing, deviation in bend.waves:
        source += deviation * smooth_fields(rng, 3, spacing, shape)
    for axis in range(3):
        source[axis] /= float(half[axis])
    return source.flip(0).permute(1, 2, 3, 0)[None]


def _rotation(angles: np.ndarray) -> np.ndarray:
    turned = np.eye(3)
    for (i, j), angle in zip([(1, 2), (0, 2), (0, 1)], angles, strict=True):
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turned = turned @ one
    return turned


def resample(volumes: Tensor, source: Tensor, outside: str = "border") -> Tensor:
    """Resample (C, X, Y, Z); ``outside`` is `torch.nn.functional.grid_sample`'s padding mode."""
    return F.grid_sample(volumes[None], source, align_corners=True, padding_mode=outside)[0]
