"""Cubic B-spline and trilinear resampling in PyTorch, on whatever device the volume lies.

SciPy's `map_coordinates` (order 3, ``mode="constant"``) is the definition: mirrored samples, zeros
outside. Where axes stay apart, three matrix products do it; elsewhere 64 coefficients are read for
each point, some planes at a time, so that a processor's cache holds what is worked on.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PLANES = 2  # of points that are worked on at once by a processor
Places = Sequence[NDArray[np.float64]]  # for each axis, where its samples lie, in voxels


def along_axes(volume: Tensor, places: Places, cubic: bool) -> Tensor:
    """Sample at the product of places along each axis.

    Args:
        volume: C x D x H x W.
        places: of D', H' and W' samples, in voxels.
        cubic: cubic splines; else linear.

    Returns:
        C x D' x H' x W', zeros outside.
    """
    weights = _cubic_weights if cubic else _linear_weights
    for axis, at in enumerate(places, start=1):
        matrix = torch.from_numpy(weights(at, volume.shape[axis])).to(volume)
        volume = torch.tensordot(matrix, volume, ([1], [axis])).movedim(0, axis)
    return volume.contiguous()


def at_points(volume: Tensor, points: Tensor, cubic: bool) -> Tensor:
    """Sample anywhere.

    Args:
        volume: C x D x H x W.
        points: 3 x D' x H' x W', along D, H and W in voxels.
        cubic: cubic splines; else linear.

    Returns:
        C x D' x H' x W', zeros outside.
    """
    if not cubic:
        return _trilinear(volume, points)
    for axis in range(1, 4):
        matrix = torch.from_numpy(_filter(volume.shape[axis])).to(volume)
        volume = torch.tensordot(matrix, volume, ([1], [axis])).movedim(0, axis)
    padded = F.pad(volume[None], (1, 2) * 3, "reflect")[0]
    parts = points.split(PLANES, dim=1) if points.device.type == "cpu" else [points]
    return torch.cat([_cubic(padded, volume.shape[1:], part) for part in parts], dim=1)


def _trilinear(volume: Tensor, points: Tensor) -> Tensor:
    sides = torch.tensor(volume.shape[1:], device=volume.device).view(3, 1, 1, 1)
    unit = (points * (2 / (sides - 1)) - 1).flip(0).movedim(0, -1)  # W, H, D from -1 to 1
    return F.grid_sample(volume[None], unit[None], padding_mode="zeros", align_corners=True)[0]


def _cubic(padded: Tensor, sides: Sequence[int], points: Tensor) -> Tensor:
    """The 64 coefficients around each point, weighted; ``padded`` by one before, two after."""
    inside, first, weights = torch.ones_like(points[0], dtype=torch.bool), [], []
    for along, side in zip(points, sides, strict=True):
        inside &= (along >= 0) & (along <= side - 1)
        within = along.clamp(0, side - 1)
        first.append(within.floor().long())
        weights.append(_weights(within - first[-1]))
    rows, columns = padded.shape[2:]
    corner = ((first[0] * rows + first[1]) * columns + first[2]).flatten()
    flat = padded.flatten(1)
    total = torch.zeros((), device=points.device)
    for d, d_weight in enumerate(weights[0]):
        plane = torch.zeros((), device=points.device)
        for h, h_weight in enumerate(weights[1]):
            start = (d * rows + h) * columns
            row = sum(
                flat.index_select(1, corner + (start + w)).view(-1, *inside.shape) * w_weight
                for w, w_weight in enumerate(weights[2])
            )
            plane = plane + row * h_weight
        total = total + plane * d_weight
    return total * inside


def _weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the coefficients at -1, 0, 1 and 2, for a place t in [0, 1)."""
    s = 1 - t
    near, far = t * t * (3 * t - 6) + 4, s * s * (3 * s - 6) + 4
    return s**3 / 6, near / 6, far / 6, t**3 / 6


@functools.lru_cache(16)
def _filter(side: int) -> NDArray[np.float64]:
    """Makes coefficients of samples: the inverse of a spline's values at the voxels."""
    values = np.diag(np.full(side, 4.0)) + np.eye(side, k=1) + np.eye(side, k=-1)
    if side > 1:
        values[0, 1] = values[-1, -2] = 2.0  # mirrored
    else:
        values[0, 0] = 6.0
    return np.asarray(np.linalg.inv(values / 6), np.float64)


def _cubic_weights(at: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """What each sample of one axis takes of each voxel."""
    first = np.floor(at)
    matrix, rows = np.zeros((len(at), side)), np.arange(len(at))
    period = max(2 * side - 2, 1)
    for step, weight in zip(range(-1, 3), _weights(torch.from_numpy(at - first)), strict=True):
        column = np.abs(first.astype(int) + step) % period
        column = np.minimum(column, period - column) % side
        np.add.at(matrix, (rows, column), weight.numpy())
    matrix[(at < 0) | (at > side - 1)] = 0
    return matrix @ _filter(side)


def _linear_weights(at: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    return np.clip(1 - np.abs(at[:, None] - np.arange(side)), 0, None)
