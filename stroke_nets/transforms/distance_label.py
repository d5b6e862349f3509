"""Distance-Based Labeling: the boundary and the interior of a lesion are different classes."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type
from scipy.ndimage import distance_transform_edt


class DistanceLabeld(MapTransform):
    """Number each lesion voxel by its distance to the background: 2 inside, 1 at the boundary.

    DBL of Shang et al., arXiv:2408.02929. The outside of the volume is not background, so apply it
    to whole masks, before cropping. For prediction see `MultiSizeLabeld`.

    Args:
        keys: masks, 1 x D x H x W; values above 0 are lesion.
        squared: voxels whose squared Euclidean distance, in voxels, exceeds this are inside.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self, keys: KeysCollection, squared: float = 4.5, allow_missing_keys: bool = False
    ) -> None:
        """Store the distance."""
        super().__init__(keys, allow_missing_keys)
        self.squared = squared

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each mask with its classes, as float32 like loaded masks."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = convert_data_type(result[key], np.ndarray)[0][0] > 0
            inside = distance_transform_edt(mask) ** 2 > self.squared
            classes = mask.astype(np.uint8) + inside
            result[key] = convert_to_dst_type(classes[None], result[key], dtype=np.float32)[0]
        return result
