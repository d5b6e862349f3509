"""Convert probabilities to a mask with a threshold, and remove implausible components."""

from collections.abc import Hashable, Mapping
from typing import Any

import cc3d
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage
from torch import Tensor

from stroke_nets.errors import DataError
from stroke_nets.evaluation.lesions import CONNECTIVITY


class LesionMaskd(MapTransform):
    """Threshold probabilities, then remove 6-connected components that are small or doubtful.

    The rule for doubtful ones is the post-processing of MSCSA's code (nadluru/StrokeLesSeg); the
    papers remove nothing. ``examples/sweep_postprocessing.py`` chooses its two parameters.

    Args:
        keys: probabilities of lesion, 1 x X x Y x Z; an affine in mm is needed for ``minimum_ml``.
        threshold: voxels with at least this probability are lesion.
        minimum_ml: components below this volume are removed; 0 removes none.
        doubtful_voxels: components of at most this many voxels are removed ...
        doubtful_below: ... if their highest probability is below this.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        threshold: float = 0.5,
        minimum_ml: float = 0.0,
        doubtful_voxels: int = 0,
        doubtful_below: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        """Store the options."""
        super().__init__(keys, allow_missing_keys)
        self.threshold, self.minimum_ml = threshold, minimum_ml
        self.doubtful_voxels, self.doubtful_below = doubtful_voxels, doubtful_below

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's probabilities with the mask, 0 and 1 of the same dtype.

        Raises:
            DataError: a probability is not finite.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            if not torch.isfinite(torch.as_tensor(result[key])).all():
                raise DataError(
                    f"{key}: probabilities are not finite; the weights are damaged, or --precision "
                    "float32 is needed"
                )
            result[key] = self._mask(result[key])
        return result

    def _mask(self, probability: Tensor) -> Tensor:
        mask = (probability >= self.threshold).to(probability.dtype)
        if self.minimum_ml <= 0 and self.doubtful_voxels <= 0:
            return mask
        labels = cc3d.connected_components(mask[0].cpu().numpy() > 0, connectivity=CONNECTIVITY)
        sizes = np.bincount(labels.ravel())
        kept = sizes >= self._least_voxels(probability)
        if self.doubtful_voxels > 0:
            every = np.arange(len(sizes))
            highest = ndimage.maximum(probability[0].cpu().numpy(), labels, every)
            kept &= (sizes > self.doubtful_voxels) | (highest >= self.doubtful_below)
        return mask * torch.from_numpy(kept[labels]).to(mask.device)

    def _least_voxels(self, image: Any) -> float:
        if self.minimum_ml <= 0:
            return 0
        voxel_ml = float(torch.linalg.det(image.affine[:3, :3]).abs()) / 1000
        return self.minimum_ml / voxel_ml
