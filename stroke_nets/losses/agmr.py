"""AGMR-Net's training loss (eq. 12-15)."""

from collections.abc import Sequence

from torch import Tensor, nn

from stroke_nets.losses.enhanced_mixing import EnhancedMixingLoss
from stroke_nets.losses.patch_attention import PatchAttentionLoss
from stroke_nets.losses.sobel_boundary import SobelBoundaryLoss


class AGMRLoss(nn.Module):
    """L1 + L2 + 0.15 L3: enhanced mixing, Sobel boundary, and patch attention over the stages.

    Takes what `AGMRNet` returns: in training the logits (B, 1, H, W) and the stages' attention
    logits (B, 1, 6, 6), in evaluation the logits alone, for which L3 is 0.
    """

    def __init__(self, mixing: float = 1.0, boundary: float = 1.0, attention: float = 0.15) -> None:
        """Take the weights of L1, L2 and L3."""
        super().__init__()
        self.weights = (mixing, boundary, attention)
        self.mixing = EnhancedMixingLoss()
        self.boundary = SobelBoundaryLoss()
        self.attention = PatchAttentionLoss()

    def forward(self, pred: Tensor | tuple[Tensor, Sequence[Tensor]], label: Tensor) -> Tensor:
        """Compare a prediction with a 0/1 label (B, 1, H, W); return a float32 scalar.

        Raises:
            ValueError: logits and label differ in shape.
        """
        maps: Sequence[Tensor]
        logits, maps = (pred, []) if isinstance(pred, Tensor) else pred
        mixing, boundary, attention = self.weights
        return (
            mixing * self.mixing(logits, label)
            + boundary * self.boundary(logits, label)
            + attention * self.attention(maps, label)
        )
