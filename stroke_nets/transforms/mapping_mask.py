"""MAPPING's conversion of probabilities to a mask with two thresholds.

Huo et al. 2022, arXiv:2211.15486, following its code (King-HAW/ATLAS-R2-Docker-Submission).
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

LOW, LOWEST = 0.5, 0.3  # code, as are all numbers below
FEW_VOXELS, HIGH_OF_FEW, HIGH_OF_MANY = 3000, 0.7, 0.55
MOST_PARTS = 4  # of a mask of few voxels
BELOW_HIGHEST = 0.1
Mask = NDArray[np.bool_]


class MappingMaskd(MapTransform):
    """Replace lesion probabilities, 1 x X x Y x Z, with MAPPING's mask, 0 and 1 of their dtype."""

    threshold, minimum_ml = LOW, 0.0

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        """Take the keys of the probabilities."""
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key."""
        result = dict(data)
        for key in self.key_iterator(result):
            found = mapping_mask(result[key][0].cpu().numpy())
            result[key] = result[key] * 0 + torch.from_numpy(found).to(result[key].device)
        return result


def mapping_mask(probability: NDArray[Any]) -> Mask:
    """Grow the components above a high threshold to those above a low one.

    In a small mask, lesions without a voxel above the high threshold are removed, as is the
    smallest of more than four parts. In a large mask, a lesion whose voxels above the high
    threshold form several parts is reduced to these; other lesions are kept.

    Args:
        probability: lesion probability, X x Y x Z.
    """
    few = np.count_nonzero(probability > LOW) < FEW_VOXELS
    high = probability > (HIGH_OF_FEW if few else HIGH_OF_MANY)
    parts = _components(high)
    sizes = np.bincount(parts.ravel())[1:]
    if few and len(sizes) > MOST_PARTS:
        high &= parts != 1 + np.argmin(sizes)
        parts = _components(high)
    if not high.any():
        return np.asarray(probability > probability.max() - BELOW_HIGHEST)
    low = probability > LOW
    if np.count_nonzero(low) == np.count_nonzero(high):
        low = probability > LOWEST
    lesions = _components(low)
    pairs = np.unique(np.stack([lesions[high & low], parts[high & low]]), axis=1)
    count = np.bincount(pairs[0], minlength=lesions.max() + 1)  # parts in each lesion
    kept = count >= 1 if few else count <= 1
    kept[0] = False
    return np.asarray(high | kept[lesions])


def _components(mask: Mask) -> NDArray[Any]:
    return np.asarray(ndimage.label(mask)[0])  # 6-connected, numbered in the code's order
