"""The box that small whole-brain networks see: the template's brain at 2 mm, left beside right.

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

SHAPE = (80, 96, 80)  # divisible by 16, the strides of five stages
MM = 2.0
AFFINE = np.array([[MM, 0, 0, -79], [0, MM, 0, -112], [0, 0, MM, -75], [0, 0, 0, 1]])
MARGIN = 2  # voxels of fluid and skull kept around the template's brain
BRIGHT = 0.9  # quantile of the brain that becomes 1: white matter
BRIGHTEST = 1.6  # what lies above is clipped
DARKEST = 0.02  # of the maximum; what lies below counts as outside
SMOOTHING_MM = 0.6  # standard deviation; a 1 mm scan is not thinned without it


class BrainBoxd(MapTransform, InvertibleTransform):
    """Bring a scan that lies on the template, and masks on its grid, into the box.

    The scan is smoothed, resampled, cut to the brain and scaled; its mirror image becomes the
    second channel, so it is 2 x 80 x 96 x 80. Masks are resampled alone (nearest). The inverse
    brings a prediction back to the scan's grid, trilinear, 0 outside of the box.

    Args:
        keys: the scan first, then masks of the same grid; each 1 x X x Y x Z with its affine.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        """Keep the resampler, whose inverse is needed."""
        super().__init__(keys, allow_missing_keys)
        self.resample = SpatialResample(padding_mode="zeros", align_corners=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key; mask, scale and mirror the first."""
        result = dict(data)
        for key in self.key_iterator(result):
            is_scan = key == self.keys[0]
            volume = result[key]
            if is_scan:
                spacing = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0)
                volume = GaussianSmooth(np.minimum(SMOOTHING_MM / spacing, 1.0).tolist())(volume)
            volume = self.resample(
                volume,
                dst_affine=torch.as_tensor(AFFINE),
                spatial_size=SHAPE,
                mode="bilinear" if is_scan else "nearest",
            )
            result[key] = with_mirror(scale_by_white_matter(volume)) if is_scan else volume
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key back to the grid it came from."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.resample.inverse(result[key])
        return result


@functools.cache
def brain_mask() -> Tensor:
    """The template's brain with a margin of 4 mm, made symmetric: (X, Y, Z), bool."""
    from nilearn.datasets import load_mni152_brain_mask  # here, because it takes seconds

    image = load_mni152_brain_mask(resolution=1)
    there = np.linalg.inv(image.affine) @ AFFINE
    whole = np.asarray(image.dataobj, dtype=np.float32)
    brain = ndimage.affine_transform(whole, there[:3, :3], there[:3, 3], SHAPE, order=1) > 0.5
    brain |= brain[::-1]
    return torch.from_numpy(ndimage.binary_dilation(brain, iterations=MARGIN))


def scale_by_white_matter(volume: Tensor) -> Tensor:
    """Set what lies outside of the brain to 0 and the brain's 90th percentile to 1.

    Args:
        volume: (..., X, Y, Z) in the box, not negative inside the brain.
    """
    mask = brain_mask()
    inside = torch.as_tensor(volume)[..., mask].flatten()
    tissue = inside[inside > DARKEST * inside.max()][::3]  # every third is enough
    if not len(tissue):
        return volume * mask
    bright = tissue.kthvalue(max(1, int(BRIGHT * len(tissue))))[0].clamp_min(1e-6)
    return (volume / bright).clamp(0, BRIGHTEST) * mask


def with_mirror(volume: Tensor) -> Tensor:
    """(1, X, Y, Z) and its mirror image, left to right, as (2, X, Y, Z)."""
    return torch.cat([volume, volume.flip(1)])
