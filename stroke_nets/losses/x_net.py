"""X-Net's training loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class XNetLoss(nn.Module):
    """Mean binary cross-entropy, plus 1 - 2 sum(g p) / (sum(g) + sum(p)) over the whole batch.

    X-Net (Qi et al. 2019), as its code has it: without smoothing.
    """

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a float32 scalar.

        Raises:
            ValueError: the shapes differ.
        """
        z, g = logits.float(), label.float()
        entropy = F.binary_cross_entropy_with_logits(z, g)
        p = torch.sigmoid(z)
        tiny = torch.finfo(torch.float32).tiny  # no lesion, and every p underflowed to 0
        return entropy + 1 - 2 * (g * p).sum() / (g.sum() + p.sum()).clamp(min=tiny)
