"""AGMR-Net's attention loss: coarse attention maps against the lesion's location."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def prior_map(label: Tensor, grid: int = 6) -> Tensor:
    """Mark the cells of a coarse grid that contain lesion.

    Args:
        label: 0/1 mask (B, 1, H, W).
        grid: cells along each side, G.

    Returns:
        float32 (B, 1, G, G): the maximum of each cell. If G divides H and W this is max pooling
        with kernel H / G (32 at 192); otherwise neighbouring cells overlap by a row.
    """
    return F.adaptive_max_pool2d(label.float(), grid)


class PatchAttentionLoss(nn.Module):
    """Binary cross-entropy of attention logits against the prior map (AGMR-Net, L3 of eq. 12-15).

    All stages have the same target; their losses are summed.
    """

    def forward(self, maps: Sequence[Tensor], label: Tensor) -> Tensor:
        """Compare logit maps (B, 1, G, G) with a 0/1 label (B, 1, H, W); return a float32 scalar.

        Without maps (an attention that has none) the loss is 0.
        """
        loss = label.new_zeros((), dtype=torch.float32)
        for logits in maps:
            target = prior_map(label, logits.shape[-1])
            loss = loss + F.binary_cross_entropy_with_logits(logits.float(), target)
        return loss
