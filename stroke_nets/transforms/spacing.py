"""Resampling to a spacing: MONAI's, without side effects on other keys, or nnU-Net's."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Spacingd

from stroke_nets.errors import UsageError
from stroke_nets.transforms.nnunet_spacing import NNUNetSpacingd

RULES = ("linear", "nnunet")


def spacing_by(
    rule: str, keys: Sequence[str], pixdim: Sequence[float]
) -> "OwnSpacingd | NNUNetSpacingd":
    """The transform that resamples to a spacing.

    Args:
        rule: ``linear``, by which the shipped weights were trained, or ``nnunet``.
        keys: the scan, then its mask; one that is missing is skipped.
        pixdim: spacing along each axis, mm.

    Raises:
        UsageError: an unknown rule.
    """
    if rule not in RULES:
        raise UsageError(f"resampling {rule!r}: choose one of {', '.join(RULES)}")
    if rule == "nnunet":
        return NNUNetSpacingd(keys, pixdim, labels=keys[1:], allow_missing_keys=True)
    modes = ["bilinear", "nearest"][: len(keys)]
    return OwnSpacingd(keys, pixdim=pixdim, mode=modes, allow_missing_keys=True)


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
