"""Dice + cross-entropy in which small lesions count as much as larger ones."""

import cc3d
import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.modules.loss import _Loss


class LesionWeightedLoss(_Loss):
    """Dice plus cross-entropy in which no lesion counts less than one of a given size.

    The cross-entropy of a lesion's voxels is multiplied by (``least`` / size) ** ``power``, where
    that is above 1: with a power of 1 the inverse weighting of Shirokikh et al. (MICCAI 2020,
    arXiv:2007.10033) for small lesions alone. Larger lesions and the background keep their weight
    of 1, so that false finds cost what they did. Dice is computed for each sample.

    Args:
        least: size, as a fraction of the volume's voxels, so that it is the same at every
            resolution; 0: plain Dice + cross-entropy, MONAI's `DiceCELoss`.
        smooth: voxels added to both parts of Dice, so that a sample without a lesion costs what is
            found in it: half of Dice for as many voxels as this. They are voxels of the logits, so
            that they stand for more ml at lower resolutions.
        power: 1: a small lesion counts as much as one of the size ``least``; more: above that.
            Without ``least`` it has no effect.

    Raises:
        ValueError: ``least`` is not in [0, 1), or ``power`` is negative.

    Example:
        >>> logits, label = torch.zeros(1, 2, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)
        >>> label[..., 3, 3, 3] = 1
        >>> plain, weighted = (LesionWeightedLoss(least)(logits, label) for least in (0, 0.125))
        >>> round(float(weighted - plain), 4)  # 63 more voxels of ln 2 each, of 512
        0.0853
    """

    def __init__(self, least: float = 0.0, smooth: float = 1.0, power: float = 1.0) -> None:
        """Take the size, the smoothing and the power."""
        super().__init__()
        if not 0 <= least < 1:
            raise ValueError(f"least {least}: give a fraction of the voxels in [0, 1)")
        if power < 0:
            raise ValueError(f"power {power}: give 0 or more")
        self.least, self.power = least, power
        self.dice = DiceLoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            smooth_nr=smooth,
            smooth_dr=smooth,
        )

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, n, D, H, W) with classes 0 to n - 1 (B, 1, D, H, W).

        Returns:
            A float32 scalar, 0 or more.
        """
        logits = logits.float()
        errors = F.cross_entropy(logits, label[:, 0].long(), reduction="none")
        if self.least:
            least = self.least * label[0, 0].numel()
            errors = errors * lesion_weights(label[:, 0], least, self.power)
        dice: Tensor = self.dice(logits, label)
        return dice + errors.mean()


def lesion_weights(label: Tensor, least: float, power: float = 1.0) -> Tensor:
    """The weight of each voxel: (``least`` / size) ** ``power`` in smaller lesions, else 1.

    Lesions are 26-connected here: a voxel that touches a lesion by its corner belongs to it, and
    does not weigh ``least`` as a lesion of its own.

    Args:
        label: classes, 0 is background, (B, D, H, W).
        least: voxels.
        power: of the quotient.

    Returns:
        Float32, of the label's shape and on its device.
    """
    weights = []
    for lesion in (label > 0).cpu().numpy():
        numbers = cc3d.connected_components(lesion, connectivity=26)
        sizes = np.bincount(numbers.ravel())
        of_each = (np.maximum(1, least / np.maximum(1, sizes)) ** power).astype(np.float32)
        of_each[0] = 1
        weights.append(torch.from_numpy(of_each[numbers]))
    return torch.stack(weights).to(label.device)
