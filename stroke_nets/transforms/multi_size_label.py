"""Multi-Size Labeling: lesions of different volumes are different classes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import cc3d
import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type


class MultiSizeLabeld(MapTransform):
    """Number each lesion by its volume: under 100 voxels 1, 100 to 999 2, to 9999 3, others 4.

    Lesions are 6-connected components of voxels above 0 (MSL; Shang et al., arXiv:2408.02929).
    Apply it to whole masks, before cropping changes the volumes. For prediction, sum the
    probabilities of all classes except the background, for example in `monai.transforms.Lambdad`::

        torch.stack([p[0], p[1:].sum(0)])

    Args:
        keys: masks, 1 x D x H x W.
        sizes: smallest volume, in voxels, of the second class, the third, and so on.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        sizes: Sequence[int] = (100, 1000, 10000),
        allow_missing_keys: bool = False,
    ) -> None:
        """Store the sizes."""
        super().__init__(keys, allow_missing_keys)
        self.sizes = sizes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each mask with its classes, as float32 like loaded masks."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = convert_data_type(result[key], np.ndarray)[0][0] > 0
            lesions = cc3d.connected_components(mask, connectivity=6)
            classes = np.digitize(np.bincount(lesions.ravel()), self.sizes) + 1
            classes[0] = 0
            result[key] = convert_to_dst_type(
                classes[lesions][None], result[key], dtype=np.float32
            )[0]
        return result
