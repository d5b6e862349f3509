"""Deep supervision: one loss at several resolutions."""

from collections.abc import Sequence

import monai.losses
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss


class DeepSupervisionLoss(nn.Module):
    """Weighted sum of a loss over a network's full and lower resolutions.

    MONAI's loss of that name does the sum and the targets (nearest neighbour of each voxel's
    centre, as in nnU-Net). This class adds a network's ``(logits, extras)``, weights normalised to
    sum to 1, and levels of weight 0, which are left out: their heads get no gradient.

    Args:
        loss: takes logits and label of one size.
        weights: relative weight of each level, full resolution first. nnU-Net v1's are
            [8, 4, 2, 1, 0], those of MSCSA's Res U-Net [16, 8, 4, 2, 1].

    Raises:
        ValueError: a weight is negative, or the first is 0.
    """

    def __init__(self, loss: _Loss, weights: Sequence[float]) -> None:
        """Divide the weights by their sum."""
        super().__init__()
        if min(weights) < 0 or not weights[0]:
            raise ValueError(f"weights {list(weights)}: give positive ones, 0 only for extras")
        self.weights = [weight / sum(weights) for weight in weights]
        kept = [weight for weight in self.weights if weight]
        self.loss = monai.losses.DeepSupervisionLoss(loss, weights=kept)

    def forward(self, pred: Tensor | tuple[Tensor, Sequence[Tensor]], label: Tensor) -> Tensor:
        """Compare a prediction with a label (B, 1, D, H, W); return a float32 scalar.

        Args:
            pred: in training, the logits (B, n, D, H, W) and those of each lower resolution; in
                evaluation, the logits alone, with weight 1.
            label: classes at full resolution.

        Raises:
            ValueError: logits and label differ in size, or there is not one weight per level.
        """
        logits, extras = (pred, None) if isinstance(pred, Tensor) else pred
        if logits.shape[2:] != label.shape[2:]:
            raise ValueError(
                f"logits {tuple(logits.shape)} and label {tuple(label.shape)} differ in size"
            )
        if extras is None:
            return self.loss(logits, label.float())
        levels = [logits, *extras]
        if len(levels) != len(self.weights):
            raise ValueError(f"{len(levels)} levels, {len(self.weights)} weights: give one to each")
        kept = [level for level, weight in zip(levels, self.weights, strict=True) if weight]
        return self.loss(kept, label.float())
