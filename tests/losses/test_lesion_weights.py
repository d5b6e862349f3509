"""Dice + cross-entropy by the size of each lesion."""

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from stroke_nets.losses.lesion_weights import LesionWeightedLoss, lesion_weights

SHAPE = (16, 16, 16)


@pytest.fixture
def label():
    """Two samples: one with a lesion of 2 voxels and one of 64, the other healthy."""
    label = torch.zeros(2, 1, *SHAPE)
    label[0, 0, 1, 1, 1:3] = 1
    label[0, 0, 8:12, 8:12, 8:12] = 1
    return label


def test_a_small_lesion_weighs_as_much_as_a_larger_one(label):
    weights = lesion_weights(label[:, 0], least=32.0)
    assert weights[0, 1, 1, 1:3].tolist() == [16, 16]
    assert weights.sum() == 2 * 16**3 + 2 * 15  # the large lesion and all else weigh 1


def test_a_higher_power_weighs_the_smallest_up_more(label):
    weights = lesion_weights(label[:, 0], least=128.0, power=2.0)
    assert weights[0, 1, 1, 1:3].tolist() == [64**2, 64**2]
    assert weights[0, 8, 8, 8] == 2**2


def test_smoothing_sets_the_price_of_false_finds_in_a_healthy_brain():
    """Of as many voxels as it has, half of Dice."""
    label = torch.zeros(1, 1, *SHAPE)
    logits = torch.zeros(1, 2, *SHAPE)
    logits[:, 0] = 20.0  # cross-entropy is 0 ...
    logits[0, :, 0, 0, :10] = logits[0, :, 0, 0, :10].flip(0)  # ... but for ten false voxels
    wrong = 10 * 20 / 16**3
    for smooth, price in ((1.0, 10 / 11), (10.0, 1 / 2), (100.0, 10 / 110)):
        found = LesionWeightedLoss(smooth=smooth)(logits, label).item()
        assert found - wrong == pytest.approx(price, rel=1e-3)


def test_without_a_least_size_it_is_monais_loss(label):
    logits = torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    options = {"include_background": False, "to_onehot_y": True, "softmax": True}
    plain = DiceCELoss(**options, smooth_nr=1.0, smooth_dr=1.0)(logits, label)
    assert LesionWeightedLoss()(logits, label).item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_missed_small_lesion_pulls_as_a_larger_one_does(label):
    """Where a network is sure of no lesion, Dice pulls at nothing; the cross-entropy has to."""
    logits = torch.tensor([8.0, 0.0]).view(1, 2, 1, 1, 1).repeat(2, 1, *SHAPE).requires_grad_()
    pulls = []
    for least in (0, 64 / 16**3):
        (pull,) = torch.autograd.grad(LesionWeightedLoss(least)(logits, label), logits)
        pulls.append([-pull[0, 1][place].sum() for place in ((1, 1), (slice(8, 12),))])
    (small, large), (raised, same) = pulls
    assert small < 0.05 * large
    assert same == pytest.approx(large.item(), rel=1e-5)
    assert raised == pytest.approx(same.item(), rel=0.3)  # Dice is the same for both


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="fraction of the voxels"):
        LesionWeightedLoss(least=2.0)
    with pytest.raises(ValueError, match="power -1"):
        LesionWeightedLoss(power=-1)


def test_classes_of_lesions_weigh_alike(label):
    logits, label = torch.zeros(2, 3, *SHAPE), label.clone()
    label[0, 0, 1] *= 2
    found = LesionWeightedLoss(least=64 / 16**3)(logits, label)
    plain = LesionWeightedLoss()(logits, label)
    error = F.cross_entropy(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))
    assert (found - plain).item() == pytest.approx(62 * error.item() / (2 * 16**3), rel=1e-4)
