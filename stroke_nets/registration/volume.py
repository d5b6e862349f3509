"""Volumes in world millimetres (RAS), as all of this package handles them."""

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.networks.layers import AffineTransform
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.errors import DataError
from stroke_nets.registration.template import nilearn_map
from stroke_nets.scans.reader import open_scan
from stroke_nets.transforms import spline

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
MOST_VOXELS = 2**26  # 400^3; the template has 8.7 million
AIR = 1e-3  # of the brightest tissue; what is darker is taken for air

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Volume:
    """Voxels and where they are; the axes run about right, anterior, superior."""

    voxels: Float32  # (X, Y, Z)
    affine: Array  # (4, 4), voxel to mm

    def thinned(self, size: float) -> "Volume":
        """The volume, smoothed, with voxels of about ``size`` mm or as they are if larger."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        steps = np.maximum(np.rint(size / sizes).astype(int), 1)
        voxels = self.voxels
        for axis, step in enumerate(steps):
            if step > 1:
                smooth = ndimage.gaussian_filter1d(voxels, 0.4 * step, axis)
                voxels = smooth[(slice(None),) * axis + (slice(None, None, step),)]
        return Volume(np.ascontiguousarray(voxels), self.affine @ np.diag([*steps, 1]))

    def sample(self, points: Array, order: int = 1) -> Float32:
        """Voxels at world ``points``, (3, ...); 0 outside of the volume."""
        inverse = np.linalg.inv(self.affine)
        index = np.tensordot(inverse[:3, :3], points, 1)
        index += inverse[:3, 3].reshape(3, *[1] * (points.ndim - 1))
        return np.asarray(ndimage.map_coordinates(self.voxels, index, order=order))


def read(path: Path) -> Volume:
    """A scan to normalise, shrunk if it has more than `MOST_VOXELS`.

    Raises:
        DataError: the file cannot be read, or is not one volume of finite, differing values.
    """
    image = nib.as_closest_canonical(open_scan(path))
    if image.ndim != 3 or min(image.shape) < 16:
        raise DataError(f"{path}: shape {image.shape}; give one 3D volume of a whole head")
    voxels = np.asarray(image.get_fdata(dtype=np.float32))
    if not np.isfinite(voxels).all() or voxels.min() == voxels.max():
        raise DataError(f"{path}: holds NaN, infinity or one value only; export the scan again")
    volume = Volume(voxels, image.affine)
    if voxels.size > MOST_VOXELS:
        logger.warning("%s: %s voxels; shrunk to be registered", path, voxels.shape)
    while volume.voxels.size > MOST_VOXELS:
        finest = np.linalg.norm(volume.affine[:3, :3], axis=0).min()
        volume = volume.thinned(2 * finest)
    return volume


@functools.cache
def brain(size: float = 1) -> Volume:
    """The template: T1w brain of ICBM 152, 0 outside of it.

    Args:
        size: of its voxels, mm; 1 is the grid of ATLAS v2.0.
    """
    return Volume(*nilearn_map("t1")) if size == 1 else brain().thinned(size)


def resampled(voxels: Float32, there: Array, shape: tuple[int, ...], order: int = 1) -> Float32:
    """Voxels on another grid, 0 where that leaves them.

    Args:
        voxels: (X, Y, Z).
        there: takes the other grid's voxels to these, (4, 4).
        shape: of the other grid.
        order: 3 cubic spline, 1 trilinear, 0 nearest.
    """
    if order == 1:
        onto = AffineTransform(
            spatial_size=tuple(shape), normalized=False, align_corners=True, reverse_indexing=True
        )
        moved = onto(torch.from_numpy(voxels)[None, None], torch.from_numpy(there).float())
        return np.asarray(moved[0, 0].numpy())
    if order == 3:
        along = [torch.arange(side, dtype=torch.float32) for side in shape]
        points = torch.cartesian_prod(*along).T
        inside = torch.from_numpy(there).float()
        points = torch.addmm(inside[:3, 3:], inside[:3, :3], points)
        moved = spline.at(torch.from_numpy(voxels)[None], points, cubic=True)
        return np.asarray(moved.view(*shape).numpy())
    # "constant" would lose the outermost voxels of a grid that rounding moves by 1e-15
    return np.asarray(
        ndimage.affine_transform(
            voxels, there, output_shape=tuple(shape), order=order, mode="grid-constant"
        )
    )


def placed(scan: Float32, there: Array, shape: tuple[int, ...]) -> Float32:
    """A scan on the template's grid as the networks see it: by cubic splines, as nnU-Net resamples.

    Trilinear interpolation smooths, which no scan of a training on the template's grid has been
    (figures: docs/registration.md). Air stays 0, where splines would overshoot.

    Args:
        scan: (X, Y, Z), 0 in air and 1 in the brightest tissue.
        there: takes the template's voxels to the scan's, (4, 4).
        shape: of the template's grid.
    """
    voxels = resampled(scan, there, shape, order=3)
    voxels[voxels < AIR] = 0
    return voxels


def dilated(volume: Volume, margin: float = 6.0) -> NDArray[np.bool_]:
    """Where a brain-only volume is, and ``margin`` mm around it."""
    size = np.linalg.norm(volume.affine[:3, :3], axis=0)
    outside = ndimage.binary_fill_holes(volume.voxels > 0.05)
    return np.asarray(ndimage.distance_transform_edt(~outside, sampling=size) <= margin)


def places(mask: NDArray[np.bool_], affine: Array) -> Array:
    """World coordinates of a mask's voxels, (3, N)."""
    return nib.affines.apply_affine(affine, np.argwhere(mask)).T
