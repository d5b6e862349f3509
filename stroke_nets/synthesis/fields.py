"""Smooth random fields and the deformations made from them."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stroke_nets.registration.template import Array


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: float, dtype: type = np.float64
) -> NDArray[Any]:
    """Smooth random field: cubic splines through standard normal values ``spacing`` voxels apart.

    Args:
        rng: random generator.
        shape: shape of the field.
        spacing: approximate distance between values; at least four are drawn per axis.
        dtype: data type of the field.

    Returns:
        Field of ``shape``.
    """
    field = rng.standard_normal([max(4, round(size / spacing) + 1) for size in shape])
    field = field.astype(dtype, copy=False)
    for size in shape:  # each iteration replaces the first axis by a new last one
        field = np.tensordot(field, _splines(field.shape[0], size).astype(dtype), axes=(0, 1))
    return field


@functools.cache
def _splines(knots: int, size: int) -> Array:
    """Natural cubic splines through uniform knots at ``size`` uniform points: (size, knots)."""
    spline = CubicSpline(np.linspace(0, size - 1, knots), np.eye(knots), bc_type="natural")
    return np.asarray(spline(np.arange(size)))


def deformation(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """Where each voxel of a patient comes from in the template.

    A small affine map about the centre and a smooth displacement of 2.5 mm standard deviation on
    nodes 30 mm apart, small enough not to fold.

    Args:
        rng: random generator.
        shape: shape of the box, in voxels of 1 mm.

    Returns:
        Voxel coordinates, (3, *shape).
    """
    middle = (np.array(shape) - 1) / 2
    linear = np.eye(3) + rng.normal(0, 0.02, (3, 3))
    axes = [np.arange(size) - half for size, half in zip(shape, middle, strict=True)]
    x, y, z = np.ix_(*axes)
    coordinates = np.empty((3, *shape))
    for axis, (a, b, c) in enumerate(linear):
        displacement = 2.5 * smooth_field(rng, shape, 30)
        coordinates[axis] = a * x + b * y + c * z + middle[axis] + displacement
    return coordinates
