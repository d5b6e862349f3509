"""nnU-Net's Dice + cross-entropy, and its variant on the hardest voxels (DTK10 of MSCSA)."""

import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.modules.loss import _Loss

SMOOTH = 1e-5


class DiceCrossEntropyLoss(_Loss):
    """Soft Dice plus the mean cross-entropy of the hardest voxels (MSCSA, arXiv:2501.15423).

    Dice is -(2 tp + s) / (2 tp + fp + fn + s + 1e-8) with s = 1e-5, computed on softmax
    probabilities for each sample and each class except the background, then averaged. This equals
    MONAI's `DiceLoss` with that smoothing, minus 1.

    nnU-Net v1, and with it the authors' code, pools the voxels of the batch first ("batch Dice")
    if its plan has two stages, that is, if the median volume after cropping has more than four
    times the voxels of the patch. The uncropped ATLAS volume, 197 x 233 x 189, has 4.14 times; if
    cropping removes more than 3.3 % of it, nnU-Net uses sample Dice. The paper does not say which
    was used. The default here is sample Dice, because it does not depend on which patches share a
    batch, and because the shipped weights were trained with it.

    Args:
        hardest: fraction of voxels that count, those with the largest cross-entropy in the pooled
            batch: 1 is plain cross-entropy (Default), 0.1 TopK10 (DTK10).
        batch: whether Dice pools the voxels of the batch (batch Dice) or is computed for each
            sample (sample Dice).

    Raises:
        ValueError: ``hardest`` is not in (0, 1].
    """

    def __init__(self, hardest: float = 1.0, batch: bool = False) -> None:
        """Take the fraction of voxels, and whether Dice pools the batch."""
        super().__init__()
        if not 0 < hardest <= 1:
            raise ValueError(f"hardest {hardest}: give a share of voxels in (0, 1]")
        self.hardest = hardest
        self.dice = DiceLoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=batch,
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH + 1e-8,
        )

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, n, D, H, W) with classes 0 to n - 1 (B, 1, D, H, W).

        Returns:
            A float32 scalar, from -1 (perfect) upwards.
        """
        logits = logits.float()
        errors = F.cross_entropy(logits, label[:, 0].long(), reduction="none").flatten()
        if self.hardest < 1:
            kept = max(1, int(self.hardest * errors.numel()))
            errors = errors.topk(kept, sorted=False).values
        return self.dice(logits, label) - 1 + errors.mean()
