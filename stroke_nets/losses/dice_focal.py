"""Dice + focal loss, the "Focal" scheme of MSCSA's authors (half of their MSL and DBL ensembles).

Source: ``focal_loss.py`` and ``custom_loss.py`` of https://github.com/nadluru/StrokeLesSeg, and Lin
et al. 2017.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.loss import _Loss

from stroke_nets.losses.dice_cross_entropy import DiceCrossEntropyLoss

SMOOTH = 1e-5  # code


class DiceFocalLoss(_Loss):
    """nnU-Net's soft Dice plus the mean focal loss -(1 - q)^gamma log q over all voxels.

    q is the true class's softmax probability p, smoothed as in the code: the label is 1 - s for the
    true class and s / (K - 1) for the other classes, and s is added, so that
    q = (1 - s) p + s (1 - p) / (K - 1) + s. With s = 0 this is MONAI's `FocalLoss`, summed over
    the classes.

    Args:
        gamma: focusing exponent, or one for each class. (The code's variant "AlphaGamma" has 1, 2,
            2, 1, 1 for MSL's five; its alpha is misspelt there and has no effect.)
        batch: whether Dice pools the voxels of the batch.
        smooth: s.
    """

    def __init__(
        self, gamma: float | Sequence[float] = 2.0, batch: bool = False, smooth: float = SMOOTH
    ) -> None:
        """Take the exponent, Dice's pooling and the smoothing."""
        super().__init__()
        self.gamma, self.smooth = gamma, smooth
        self.dice = DiceCrossEntropyLoss(batch=batch).dice

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, K, D, H, W) with classes 0 to K - 1 (B, 1, D, H, W).

        Returns:
            A float32 scalar, from -1 (perfect) upwards.
        """
        logits, classes = logits.float(), label.long()
        p = F.softmax(logits, dim=1).gather(1, classes)
        q = (1 - self.smooth) * p + self.smooth * (1 - p) / (logits.shape[1] - 1) + self.smooth
        gamma = self.gamma
        exponent = gamma if isinstance(gamma, int | float) else p.new_tensor(gamma)[classes]
        focal = -((1 - q).clamp(min=0) ** exponent) * q.log()
        return self.dice(logits, label) - 1 + focal.mean()
