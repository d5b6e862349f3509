"""CLCI-Net's training loss."""

import torch
from torch import Tensor, nn


class CLCINetLoss(nn.Module):
    """1 - (2 sum(g p) + 1) / (sum(g^2) + sum(p^2) + 1) over the whole batch (Yang et al. 2019)."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a float32 scalar.

        Raises:
            ValueError: the shapes differ.
        """
        if logits.shape != label.shape:
            raise ValueError(
                f"prediction {tuple(logits.shape)} and label {tuple(label.shape)} differ in shape"
            )
        p, g = torch.sigmoid(logits.float()), label.float()
        return 1 - (2 * (g * p).sum() + 1) / ((g * g).sum() + (p * p).sum() + 1)
