"""Lesions too small to be believed are left out of a mask."""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import cc3d
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

CONNECTIVITY: Literal[6] = 6  # as everywhere


class MinimumLesiond(MapTransform):
    """Remove the 6-connected components of a mask that are smaller than a volume.

    Args:
        keys: masks, 1 x X x Y x Z, with an affine in mm.
        minimum_ml: components below it are removed; 0 removes none.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self, keys: KeysCollection, minimum_ml: float = 0.0, allow_missing_keys: bool = False
    ) -> None:
        """Store the options."""
        super().__init__(keys, allow_missing_keys)
        self.minimum_ml = minimum_ml

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Clean each key."""
        result = dict(data)
        for key in self.key_iterator(result) if self.minimum_ml > 0 else ():
            mask = result[key]
            voxel_ml = float(torch.linalg.det(mask.affine[:3, :3]).abs()) / 1000
            least = int(np.ceil(self.minimum_ml / voxel_ml))
            voxels = mask[0].cpu().numpy() > 0
            kept = cc3d.dust(voxels, threshold=least, connectivity=CONNECTIVITY)
            result[key] = mask * torch.from_numpy(kept).to(mask.device)
        return result
