"""MONAI's resampling to a spacing, without side effects on other keys."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Spacingd


class OwnSpacingd(Spacingd):
    """`monai.transforms.Spacingd` that sees only its own keys.

    MONAI 1.6 treats any entry named ``image_...`` as metadata of ``image`` and updates it, which
    fails for MONAI Label's ``image_path`` (docs/monai.md). Arguments and inverse are MONAI's.
    """

    def __call__(
        self, data: Mapping[Hashable, Any], lazy: bool | None = None
    ) -> dict[Hashable, Any]:
        """Resample the keys; other entries are not changed."""
        own = {key: data[key] for key in self.keys if key in data}
        return {**data, **super().__call__(own, lazy)}
