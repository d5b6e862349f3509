"""X-Net's training loss."""

import torch
from monai.losses import DiceCELoss
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny  # for slices without lesion whose p all underflow to 0


class XNetLoss(DiceCELoss):
    """Mean binary cross-entropy, plus 1 - 2 sum(g p) / (sum(g) + sum(p)) over the whole batch.

    X-Net (Qi et al. 2019), as in its code: without smoothing.
    """

    def __init__(self) -> None:
        """Configure MONAI's Dice and cross-entropy loss as in the paper's code."""
        super().__init__(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=TINY)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a float32 scalar.

        Raises:
            AssertionError: the shapes differ.
        """
        return super().forward(input.float(), target.float())
