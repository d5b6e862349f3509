"""The template's components: tissues, ventricles, territories, and a head around the brain.

Lengths are in mm. Flat arrays run over the voxels listed in ``at``, an index into the box.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.template import Array, Box
from stroke_nets.synthesis.territories import label_territories

OUTSIDE, SHELL, VENTRICLE = 0, 1, 2  # labels; the rest of the brain has its territory's
HEAD_MM = 24.0  # the furthest that a head extends beyond the brain

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """Maps in the template's space that patients are painted from; arrays cover ``box``."""

    box: Box
    label: NDArray[np.uint8]
    brain_at: NDArray[np.int64]
    shares: Float32  # fractions of fluid, grey and white matter, (3, N)
    detail: Float32  # residual of the template after subtracting the tissues' mean intensities
    shell_at: NDArray[np.int64]
    depth: Float32  # distance of a shell voxel from the brain's surface
    skin: Float32  # distance of a shell voxel from the surface under the scalp; negative inside
    place: Float32  # MNI coordinates of a shell voxel, (3, N)
    wall: Float32  # distance to the ventricular wall, negative inside
    away: Float32  # its gradient, smoothed so that moving the wall does not fold; (3, *box)
    middle: float  # x index of the midline


@functools.cache
def head() -> Head:
    """The template's head, read and measured once per process."""
    from nilearn import datasets  # imported here because it takes seconds

    image = datasets.load_mni152_template(resolution=1)
    t1 = np.asarray(image.dataobj, dtype=np.float64)
    grey = datasets.load_mni152_gm_template(resolution=1).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=1).get_fdata()
    whole = ndimage.binary_fill_holes(t1 > 0)
    surface, skin = _surfaces(whole, image.affine)
    fluid = np.clip(1 - grey - white, 0, 1)
    ventricle = _ventricle(fluid * whole, surface, image.affine[:3, 3])
    wall = _enlarged(2 * _distance(ventricle[::2, ::2, ::2]), t1.shape)
    box = ndimage.find_objects((skin < HEAD_MM).astype(np.int8))[0]
    t1, grey, white, fluid, whole = t1[box], grey[box], white[box], fluid[box], whole[box]
    surface, skin, ventricle, wall = surface[box], skin[box], ventricle[box], wall[box]
    origin = image.affine[:3, 3] + [side.start for side in box]
    brain_at = np.flatnonzero(whole)
    shell_at = np.flatnonzero((skin < HEAD_MM) & ~whole)
    shares = np.stack([fluid, grey, white]).reshape(3, -1)[:, brain_at]
    means = np.linalg.lstsq(shares.T, t1.flat[brain_at], rcond=None)[0]
    label = np.zeros(t1.shape, np.uint8)
    label.flat[shell_at] = SHELL
    label.flat[brain_at] = label_territories(_places(brain_at, t1.shape, origin))
    label[ventricle] = VENTRICLE
    return Head(
        box=box,
        label=label,
        brain_at=brain_at,
        shares=shares.astype(np.float32),
        detail=(t1.flat[brain_at] - means @ shares).astype(np.float32),
        shell_at=shell_at,
        depth=surface.flat[shell_at].astype(np.float32),
        skin=skin.flat[shell_at].astype(np.float32),
        place=_places(shell_at, t1.shape, origin).astype(np.float32),
        wall=wall.astype(np.float32),
        away=np.stack(np.gradient(ndimage.gaussian_filter(wall.astype(np.float32), 4))),
        middle=-origin[0],
    )


def _places(at: NDArray[np.int64], shape: tuple[int, ...], origin: Array) -> Array:
    """MNI coordinates of the voxels ``at``, (3, N)."""
    return np.stack(np.unravel_index(at, shape)) + origin[:, None]


def _distance(mask: NDArray[np.bool_]) -> Array:
    """Signed distance to the surface of a mask, positive outside, in voxels; slightly smoothed."""
    outside = ndimage.distance_transform_edt(~mask)
    return np.asarray(ndimage.gaussian_filter(outside - ndimage.distance_transform_edt(mask), 1))


def _enlarged(thin: Array, shape: tuple[int, ...]) -> Array:
    """Upsample a map of every 2nd voxel to all voxels; ``shape`` is odd."""
    zoom = [size / part for size, part in zip(shape, thin.shape, strict=True)]
    return np.asarray(ndimage.zoom(thin, zoom, order=1))


def _surfaces(brain: NDArray[np.bool_], affine: Array) -> tuple[Array, Array]:
    """Signed distances to the brain with closed sulci, and to the surface under the scalp.

    Below MNI z = -22 the scalp surrounds everything under the brain's section there (skull base and
    neck). Both are measured on every 2nd voxel.
    """
    thin = brain[::2, ::2, ::2]
    closed = _distance(_distance(thin) < 6) < -6  # 12 mm
    envelope = closed.copy()
    level = round((-22 - affine[2, 3]) / 2)
    envelope[:, :, :level] |= closed[:, :, level, None]
    surface, skin = (_enlarged(2 * _distance(mask), brain.shape) for mask in (closed, envelope))
    return surface, skin


def _ventricle(fluid: Array, surface: Array, origin: Array) -> NDArray[np.bool_]:
    """The lateral and third ventricles: the largest deep region of fluid."""
    x, y, z = np.ix_(*[np.arange(n) + o for n, o in zip(fluid.shape, origin, strict=True)])
    near = (np.abs(x) < 42) & (y > -58) & (y < 42) & (z > -5) & (z < 36)
    pools, _ = ndimage.label(ndimage.binary_opening((fluid > 0.5) & (surface < -15) & near))
    sizes = np.bincount(pools.ravel())
    sizes[0] = 0
    return np.asarray(pools == sizes.argmax())
