"""Distance-Based Labeling: a lesion's boundary and its interior are different classes."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type
from scipy.ndimage import distance_transform_edt


class DistanceLabeld(MapTransform):
    """Number each lesion voxel by its distance to the background: 2 inside, 1 at the boundary.

    DBL of Shang et al., arXiv:2408.02929. The border of the volume is not background, so apply it
    to whole masks, before any crop. For prediction see `MultiSizeLabeld`.

    Args:
        keys: masks, 1 x D x H x W; what is above 0 is lesion.
        squared: inside is where the squared Euclidean distance, in voxels, exceeds this.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self, keys: KeysCollection, squared: float = 4.5, allow_missing_keys: bool = False
    ) -> None:
        """Store the distance."""
        super().__init__(keys, allow_missing_keys)
        self.squared = squared

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each mask by its classes, float32 as masks are loaded."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = convert_data_type(result[key], np.ndarray)[0][0] > 0
            inside = distance_transform_edt(mask) ** 2 > self.squared
            classes = mask.astype(np.uint8) + inside
            result[key] = convert_to_dst_type(classes[None], result[key], dtype=np.float32)[0]
        return result
