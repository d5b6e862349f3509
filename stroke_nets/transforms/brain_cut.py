"""Remove predictions outside the brain."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.volume import Volume, brain, resampled

GRID_MM = 2  # of the distances, between which is interpolated
FAR_MM = 1000  # more than any margin, so that 0 outside the template means far away


class BrainCutd(MapTransform):
    """Set predictions to zero outside the template's brain and a margin around it.

    Apply it to predictions in the template's space, before ``Invertd``. Predictions of a scan that
    was not registered are not changed, as the papers remove nothing.

    Args:
        keys: predictions, C x D x H x W, on the grid of the image.
        orig_keys: the preprocessed image, whose affine and registration locate the brain.
        margin: around the brain, mm. ours: the smallest that keeps 99 % of real lesions' voxels
            (docs/predict.md).
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        orig_keys: str = "image",
        margin: float = 6.0,
        allow_missing_keys: bool = False,
    ) -> None:
        """Store the options."""
        super().__init__(keys, allow_missing_keys)
        self.image, self.margin = orig_keys, margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut each key."""
        result = dict(data)
        image = result[self.image]
        if OnTemplate.of(image) is None:
            return result
        near_brain = nearness()
        there = np.linalg.inv(near_brain.affine) @ image.affine.numpy()
        near = resampled(near_brain.voxels, there, tuple(image.shape[1:]))
        inside = near >= FAR_MM - self.margin
        for key in self.key_iterator(result):
            result[key] = result[key] * torch.from_numpy(inside).to(result[key].device)
        return result


@cache
def nearness() -> Volume:
    """`FAR_MM` minus the distance to the template's brain, mm, on a grid of `GRID_MM`."""
    template = brain()
    inside = ndimage.binary_fill_holes(template.voxels > 0.05)[::GRID_MM, ::GRID_MM, ::GRID_MM]
    distance = GRID_MM * ndimage.distance_transform_edt(~inside)
    affine = template.affine @ np.diag([GRID_MM, GRID_MM, GRID_MM, 1])
    return Volume(np.asarray(FAR_MM - distance, np.float32), affine)
