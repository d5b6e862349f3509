"""Deep supervision: one loss for every head of a network."""

import torch
from torch import Tensor, nn


class MeanOverHeads(nn.Module):
    """The mean of a loss over all heads (U-Net++, Zhou et al. 2018: equal weights for all depths).

    MONAI's ``DeepSupervisionLoss`` takes a list, whereas networks here return a pair in training.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Take the loss of one head."""
        super().__init__()
        self.loss = loss

    def forward(self, pred: Tensor | tuple[Tensor, list[Tensor]], label: Tensor) -> Tensor:
        """Compare logits, or a pair of logits and the other heads' list, with a label."""
        logits, others = (pred, []) if isinstance(pred, Tensor) else pred
        return torch.stack([self.loss(head, label) for head in (logits, *others)]).mean()
