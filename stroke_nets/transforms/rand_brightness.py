"""nnU-Net's additive brightness."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandBrightnessd(RandomizableTransform, MapTransform):
    """Add one normally distributed number to a volume (MONAI's shifts are uniform).

    Args:
        keys: volumes of any shape, all shifted by the same number.
        prob: probability of a shift.
        std: its standard deviation; the mean is 0.
    """

    def __init__(self, keys: KeysCollection, prob: float, std: float) -> None:
        """Store the options."""
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.std = std

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a shift and apply it."""
        result = dict(data)
        self.randomize(None)
        if self._do_transform:
            shift = float(self.R.normal(0, self.std))
            for key in self.key_iterator(result):
                result[key] = result[key] + shift
        return result
