"""D-UNet's enhanced mixing loss, which is also the first term of AGMR-Net's."""

import torch
from torch import Tensor, nn


def enhanced_mixing_loss(
    probability: Tensor, label: Tensor, gamma: float = 1.1, alpha: float = 0.48
) -> Tensor:
    """Focal loss minus the logarithm of the Dice coefficient of the whole batch.

    -mean[alpha g (1 - p)^gamma log p] - mean[(1 - alpha)(1 - g) p^gamma log(1 - p)]
    - log((2 sum(g p) + 1) / (sum(g^2) + sum(p^2) + 1)), p clipped to [1e-7, 1 - 1e-7].

    AGMR-Net prints "-log(Dice_loss)", which would reward failure with 1 - Dice; this is D-UNet's.

    Args:
        probability: p in [0, 1], of any shape.
        label: g, 0 or 1, of the same shape.
        gamma: focusing exponent.
        alpha: weight of the lesion; the background has 1 - alpha.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: the shapes differ.
    """
    if probability.shape != label.shape:
        raise ValueError(
            f"prediction {tuple(probability.shape)} and label {tuple(label.shape)} differ in shape"
        )
    p, g = probability.float().clamp(1e-7, 1 - 1e-7), label.float()
    lesion = alpha * g * (1 - p) ** gamma * torch.log(p)
    background = (1 - alpha) * (1 - g) * p**gamma * torch.log1p(-p)
    dice = (2 * (g * p).sum() + 1) / ((g * g).sum() + (p * p).sum() + 1)
    return -lesion.mean() - background.mean() - torch.log(dice)


class EnhancedMixingLoss(nn.Module):
    """`enhanced_mixing_loss` of logits (D-UNet, Zhou et al. 2019; AGMR-Net, L1 of eq. 12-15)."""

    def __init__(self, gamma: float = 1.1, alpha: float = 0.48) -> None:
        """Take the focal loss's exponent and lesion weight; the defaults are D-UNet's."""
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a scalar."""
        probability = torch.sigmoid(logits.float())
        return enhanced_mixing_loss(probability, label, self.gamma, self.alpha)
