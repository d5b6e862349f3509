"""The input box of small whole-brain networks: the template's brain at 2 mm and its mirror image.

The box is symmetric about the template's midline (x = 0), so a volume and its mirror image
compare the two halves of a brain voxel by voxel.
"""

import functools
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import GaussianSmooth, InvertibleTransform, MapTransform, SpatialResample
from scipy import ndimage
from torch import Tensor

from stroke_nets.registration.volume import brain as whole_brain
from stroke_nets.registration.volume import resampled

SHAPE = (80, 96, 80)  # divisible by 16, the strides of five stages
MM = 2.0
AFFINE = np.array([[MM, 0, 0, -79], [0, MM, 0, -112], [0, 0, MM, -75], [0, 0, 0, 1]])
TISSUE = 0.2  # of the template's maximum, as in nilearn's brain mask
MARGIN = 2  # voxels of fluid and skull kept around the template's brain
BRIGHT = 0.9  # quantile of the brain that is scaled to 1: white matter
BRIGHTEST = 1.6  # values above are clipped
BRIGHTEST_DWI = 3.0  # of the brain's median
MM2_PER_S, UM2_PER_S = 0.05, 50.0  # medians below and above are in mm2/s and 1e-6 mm2/s
HIGHEST_ADC = 3.0  # 1e-3 mm2/s: cerebrospinal fluid
DARKEST = 0.02  # of the maximum; values below count as outside
SMOOTHING_MM = 0.6  # standard deviation; avoids aliasing when a 1 mm scan is downsampled


class BrainBoxd(MapTransform, InvertibleTransform):
    """Resample a scan in the template's space, and masks on its grid, to the box.

    The scan is smoothed, resampled, masked to the brain and scaled; its mirror image becomes the
    second channel, so the result is 2 x 80 x 96 x 80. Masks are only resampled (nearest neighbour).
    The inverse resamples a prediction to the scan's grid, trilinear, with 0 outside the box.

    Args:
        keys: the scan first, then masks on the same grid; each 1 x X x Y x Z with its affine.
        allow_missing_keys: skip missing keys.
        mirror: False: without the mirror image, 1 x 80 x 96 x 80.
    """

    def __init__(
        self, keys: KeysCollection, allow_missing_keys: bool = False, mirror: bool = True
    ) -> None:
        """Store the resampler, whose inverse is needed."""
        super().__init__(keys, allow_missing_keys)
        self.mirror = mirror
        self.resample = SpatialResample(padding_mode="zeros", align_corners=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key; mask, scale and mirror the first."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = self._moved(result[key], smooth=key == self.keys[0])
            if key == self.keys[0]:
                volume = scale_by_white_matter(volume)
                volume = with_mirror(volume) if self.mirror else volume
            result[key] = volume
        return result

    def _moved(self, volume: Any, smooth: bool) -> Any:
        """Resample to the box: an image, smoothed before, or a mask."""
        if smooth:
            spacing = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0)
            volume = GaussianSmooth(np.minimum(SMOOTHING_MM / spacing, 1.0).tolist())(volume)
        mode = "bilinear" if smooth else "nearest"
        affine = torch.as_tensor(AFFINE)
        return self.resample(volume, dst_affine=affine, spatial_size=SHAPE, mode=mode)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key back to its original grid."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.resample.inverse(result[key])
        return result


class DiffusionBoxd(BrainBoxd):
    """As `BrainBoxd`, of DWI and ADC: 4 x 80 x 96 x 80, the mirror image of each last.

    The DWI's median in the brain becomes 1. The ADC may be in mm2/s, 1e-3 or 1e-6 mm2/s, which its
    median tells; without it, its channels are 0. It is removed from the dictionary.

    Args:
        keys: the DWI, the ADC, then masks, all on the same grid.
        allow_missing_keys: skip missing keys.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key; scale DWI and ADC, and stack them with their mirror images."""
        result = dict(data)
        first, second = self.keys[:2]
        images = [key for key in (first, second) if key in result]
        for key in self.key_iterator(result):
            result[key] = self._moved(result[key], smooth=key in images)
        dwi, adc = scale_dwi(result[first]), result.pop(second, None)
        adc = torch.zeros_like(dwi) if adc is None else scale_adc(in_um2_per_ms(adc))
        result[first] = with_mirror(torch.cat([dwi, torch.as_tensor(adc)]))
        return result


@functools.cache
def brain_mask() -> Tensor:
    """The template's brain with a margin of 4 mm, made symmetric: (X, Y, Z), bool."""
    template = whole_brain()
    there = np.linalg.inv(template.affine) @ AFFINE
    tissue = (template.voxels >= TISSUE).astype(np.float32)
    brain = resampled(tissue, there, SHAPE) > 0.5
    brain |= brain[::-1]
    return torch.from_numpy(ndimage.binary_dilation(brain, iterations=MARGIN))


def scale_by_white_matter(volume: Tensor) -> Tensor:
    """Set voxels outside the brain to 0 and scale the brain's 90th percentile to 1.

    Args:
        volume: (..., X, Y, Z) in the box, non-negative inside the brain.
    """
    mask = brain_mask()
    inside = torch.as_tensor(volume)[..., mask].flatten()
    tissue = inside[inside > DARKEST * inside.max()][::3]  # every third voxel is enough
    if not len(tissue):
        return volume * mask
    bright = tissue.kthvalue(max(1, int(BRIGHT * len(tissue))))[0].clamp_min(1e-6)
    return (volume / bright).clamp(0, BRIGHTEST) * mask


def scale_dwi(volume: Tensor) -> Tensor:
    """Set voxels outside the brain to 0 and scale the brain's median to 1.

    Args:
        volume: diffusion-weighted, (..., X, Y, Z) in the box, non-negative inside the brain.
    """
    mask = brain_mask()
    inside = torch.as_tensor(volume)[..., mask].flatten()
    tissue = inside[inside > DARKEST * inside.max()][::3]  # every third voxel is enough
    if not len(tissue):
        return volume * mask
    return (volume / tissue.median().clamp_min(1e-6)).clamp(0, BRIGHTEST_DWI) * mask


def in_um2_per_ms(adc: Tensor) -> Tensor:
    """An ADC map in 1e-3 mm2/s, of one in this unit, in mm2/s or in 1e-6 mm2/s: its median tells.

    Args:
        adc: (..., X, Y, Z) in the box.
    """
    inside = adc[..., brain_mask()].flatten()
    median = float(inside[inside > 0].median()) if (inside > 0).any() else 1.0
    return adc * (1e3 if median < MM2_PER_S else 1e-3 if median > UM2_PER_S else 1.0)


def scale_adc(volume: Tensor) -> Tensor:
    """Set voxels outside the brain to 0 and clip; ``volume`` is in 1e-3 mm2/s, (..., X, Y, Z)."""
    return volume.clamp(0, HIGHEST_ADC) * brain_mask()


def with_mirror(volume: Tensor) -> Tensor:
    """Stack (C, X, Y, Z) and its left-right mirror image to (2C, X, Y, Z)."""
    return torch.cat([volume, volume.flip(1)])
