"""MONAI's resampling to a spacing, beside other entries of a case."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Spacingd


class OwnSpacingd(Spacingd):
    """`monai.transforms.Spacingd` that sees its own keys alone.

    MONAI 1.6 takes any entry named ``image_...`` for metadata of ``image`` and updates it, which
    fails on MONAI Label's ``image_path`` (docs/monai.md). Arguments and inverse are MONAI's.
    """

    def __call__(
        self, data: Mapping[Hashable, Any], lazy: bool | None = None
    ) -> dict[Hashable, Any]:
        """Resample the keys; all else stays as it is."""
        own = {key: data[key] for key in self.keys if key in data}
        return {**data, **super().__call__(own, lazy)}
