"""CLCI-Net's training loss."""

from monai.losses import DiceLoss
from torch import Tensor


class CLCINetLoss(DiceLoss):
    """1 - (2 sum(g p) + 1) / (sum(g^2) + sum(p^2) + 1) over the whole batch (Yang et al. 2019)."""

    def __init__(self) -> None:
        """Configure MONAI's Dice loss as in the paper."""
        super().__init__(sigmoid=True, squared_pred=True, smooth_nr=1, smooth_dr=1, batch=True)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a float32 scalar.

        Raises:
            AssertionError: the shapes differ.
        """
        return super().forward(input.float(), target.float())
