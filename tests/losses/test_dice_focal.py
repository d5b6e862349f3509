import math

import pytest
import torch
from monai.losses import FocalLoss

from stroke_nets.losses.dice_focal import DiceFocalLoss


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_without_smoothing_the_focal_part_is_monais(classes, gamma):
    torch.manual_seed(0)
    logits = torch.randn(2, classes, 4, 5, 6)
    label = torch.randint(0, classes, (2, 1, 4, 5, 6))
    loss = DiceFocalLoss(gamma, smooth=0.0)
    theirs = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma)(logits, label) * classes
    ours = loss(logits, label) - (loss.dice(logits, label) - 1)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)  # float32, means of 240 voxels


def test_smoothing_by_hand():
    """One voxel of class 1 of three, p = 1/2, s = 0.1: q = 0.9/2 + 0.1/4 + 0.1 = 0.575."""
    logits = torch.log(torch.tensor([0.25, 0.5, 0.25])).reshape(1, 3, 1, 1, 1)
    label = torch.ones(1, 1, 1, 1, 1)
    loss = DiceFocalLoss(gamma=[0, 2, 0], smooth=0.1)
    focal = loss(logits, label) - (loss.dice(logits, label) - 1)
    assert focal.item() == pytest.approx(-(0.425**2) * math.log(0.575), rel=1e-5)


def test_finite_and_float32_where_a_probability_is_zero():
    logits = torch.tensor([0.0, 1e4]).reshape(1, 2, 1, 1, 1).requires_grad_()
    loss = DiceFocalLoss()(logits.bfloat16(), torch.zeros(1, 1, 1, 1, 1))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
