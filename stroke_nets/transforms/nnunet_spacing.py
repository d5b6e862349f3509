"""nnU-Net v2's resampling to a spacing.

Source: Isensee et al. 2021 and nnunetv2 2.8.1, ``default_resampling.py`` with the orders of its
planner, and batchgenerators 0.25.5 for masks; equal to its own function
(`tests/transforms/test_nnunet_spacing.py`).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.transforms.utils import scale_affine
from numpy.typing import NDArray
from scipy import ndimage

ANISOTROPY = 3  # largest over smallest spacing, above which the coarse axis is left to nearest
IMAGE, LABEL, PROBABILITY = 3, 1, 1  # spline orders of nnU-Net's plans

Floats = NDArray[np.float64]


def new_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]
) -> tuple[int, ...]:
    """Voxels of a volume at another spacing, mm, rounded half to even."""
    sides = zip(spacing, target, shape, strict=True)
    return tuple(round(old / new * side) for old, new, side in sides)


def coarse_axis(spacing: Sequence[float], target: Sequence[float]) -> int | None:
    """The axis that is resampled by itself: the coarse one, before or else after, if one is."""
    for mm in (np.asarray(spacing), np.asarray(target)):
        if mm.max() / mm.min() > ANISOTROPY:
            (axes,) = np.where(mm == mm.max())
            return int(axes[0]) if len(axes) == 1 else None
    return None


def resampled(
    volume: NDArray[Any], shape: Sequence[int], axis: int | None, order: int, is_label: bool = False
) -> NDArray[Any]:
    """Resample a volume as nnU-Net does.

    Args:
        volume: X x Y x Z.
        shape: that of the result.
        axis: `coarse_axis`: slices across it are resampled in their plane, then the nearest slice
            is taken; None: all axes alike.
        order: of the splines.
        is_label: resample the share of each class; the class of the largest is taken.

    Returns:
        The volume, of the same type.
    """
    if tuple(shape) == volume.shape:
        return volume
    resize = _label_resized if is_label else _resized
    values = volume.astype(np.float64)
    if axis is None:
        return resize(values, shape, order).astype(volume.dtype)
    plane = [side for other, side in enumerate(shape) if other != axis]
    slices = [resize(one, plane, order) for one in np.moveaxis(values, axis, 0)]
    step = len(slices) / shape[axis]
    nearest = np.floor(step * (np.arange(shape[axis]) + 0.5)).astype(int)
    stacked = np.stack([slices[n] for n in nearest.clip(0, len(slices) - 1)], axis)
    return stacked.astype(volume.dtype)


def _resized(values: Floats, shape: Sequence[int], order: int) -> Floats:
    """Splines between voxels whose outer edges coincide, within the range of the values."""
    zoom = [new / old for new, old in zip(shape, values.shape, strict=True)]
    found = ndimage.zoom(values, zoom, order=order, mode="nearest", grid_mode=True)
    return np.asarray(found.clip(values.min(), values.max()), np.float64)


def _label_resized(values: Floats, shape: Sequence[int], order: int) -> Floats:
    """The class of the largest share; of equal shares that of the nearest voxel, or the lowest."""
    classes = np.unique(values)
    shares = np.stack(
        [_resized((values == one).astype(np.float64), shape, order) for one in classes]
    )
    nearest = np.searchsorted(classes, _resized(values, shape, 0))
    tied = np.take_along_axis(shares, nearest[None], 0)[0] == shares.max(axis=0)
    return np.asarray(classes[np.where(tied, nearest, shares.argmax(axis=0))], np.float64)


class NNUNetSpacingd(MapTransform, InvertibleTransform):
    """Resample scans and masks to a spacing as nnU-Net v2 does, and predictions back.

    The inverse resamples linearly to the former shape, as nnU-Net does with probabilities.

    Args:
        keys: C x X x Y x Z each, with an affine in mm.
        pixdim: spacing along X, Y, Z, mm.
        labels: keys that are masks.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float],
        labels: Sequence[str] = ("label",),
        allow_missing_keys: bool = False,
    ) -> None:
        """Store the options."""
        super().__init__(keys, allow_missing_keys)
        self.pixdim = tuple(float(mm) for mm in pixdim)
        self.labels = tuple(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume: MetaTensor = result[key]
            before = tuple(volume.shape[1:])
            spacing = [float(mm) for mm in volume.pixdim]
            shape = new_shape(before, spacing, self.pixdim)
            axis, is_label = coarse_axis(spacing, self.pixdim), key in self.labels
            made = _each(volume, shape, axis, LABEL if is_label else IMAGE, is_label)
            made.affine = volume.affine @ torch.as_tensor(scale_affine(before, shape))
            extra = {"before": before, "axis": -1 if axis is None else axis}
            self.push_transform(made, orig_size=before, extra_info=extra)
            result[key] = made
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring each key back to its former shape and affine."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume: MetaTensor = result[key]
            done = self.pop_transform(volume)["extra_info"]
            axis = None if done["axis"] < 0 else done["axis"]
            after = tuple(volume.shape[1:])
            made = _each(volume, done["before"], axis, PROBABILITY, False)
            made.affine = volume.affine @ torch.as_tensor(scale_affine(after, done["before"]))
            result[key] = made
        return result


def _each(
    volume: MetaTensor, shape: Sequence[int], axis: int | None, order: int, is_label: bool
) -> MetaTensor:
    """Resample every channel."""
    channels = volume.detach().cpu().numpy()
    made = np.stack([resampled(one, tuple(shape), axis, order, is_label) for one in channels])
    return MetaTensor(torch.from_numpy(made).to(volume.device)).copy_meta_from(volume)
