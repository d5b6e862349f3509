import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stroke_nets.losses.dice_cross_entropy import DiceCrossEntropyLoss

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "mscsa" / "vec_loss.npz")
LOGITS = torch.from_numpy(REFERENCE["logits"])


@pytest.mark.parametrize("name", ["target", "target_sample1_empty"])
@pytest.mark.parametrize("batch", [False, True])
def test_equals_nnu_net_with_sample_and_with_batch_dice(name, batch):
    label = torch.from_numpy(REFERENCE[name])
    dice, default, hardest = (
        float(REFERENCE[f"{key}/bd{batch:d}/{name}"]) for key in ("softdice", "dc_ce", "dtk10")
    )
    tolerance = {"abs": 2e-6}  # the reference is float32, as its README says
    loss = DiceCrossEntropyLoss(batch=batch)
    assert loss.dice(LOGITS, label).item() - 1 == pytest.approx(dice, **tolerance)
    assert loss(LOGITS, label).item() == pytest.approx(default, **tolerance)
    topk = DiceCrossEntropyLoss(0.1, batch)
    assert topk(LOGITS, label).item() == pytest.approx(hardest, **tolerance)


def four_voxels():
    """p(lesion) = 3/4, 1/2, 1/2, 1/4 in one sample; the first two voxels are lesion."""
    logits = torch.zeros(1, 2, 1, 1, 4)
    logits[0, 1, 0, 0] = torch.tensor([math.log(3), 0, 0, -math.log(3)])
    return logits, torch.tensor([1.0, 1, 0, 0]).reshape(1, 1, 1, 1, 4)


def test_by_hand():
    # tp 1.25, fp 0.75, fn 0.75; cross-entropies -log of 3/4, 1/2, 1/2, 3/4.
    dice = -2.5 / 4  # the smoothing changes it by 4e-6
    easy, hard = math.log(4 / 3), math.log(2)
    assert DiceCrossEntropyLoss()(*four_voxels()).item() == pytest.approx(
        dice + (easy + hard) / 2, abs=1e-5
    )
    assert DiceCrossEntropyLoss(0.5)(*four_voxels()).item() == pytest.approx(dice + hard, abs=1e-5)


def test_hardest_voxels_are_pooled_over_the_batch():
    # The easy sample has no voxel among the hardest half.
    logits, label = four_voxels()
    easy = torch.zeros_like(logits)
    easy[:, 1:] = 20 * (2 * label - 1)
    loss = DiceCrossEntropyLoss(0.25)(torch.cat([logits, easy]), torch.cat([label, label]))
    assert loss.item() == pytest.approx((-2.5 / 4 - 1) / 2 + math.log(2), abs=1e-5)


def test_the_share_is_rounded_down_but_never_to_nothing():
    logits, label = four_voxels()
    logits[0, 1, 0, 0, 3] = 5  # the hardest voxel by far
    worst = -2 * 1.25 / (2 + 1.75 + torch.sigmoid(torch.tensor(5.0))) + math.log1p(math.exp(5))
    for share in (0.1, 0.49):
        assert DiceCrossEntropyLoss(share)(logits, label).item() == pytest.approx(
            worst.item(), abs=1e-5
        )


def test_dice_is_the_mean_over_foreground_classes():
    # Certain of class 1 in both voxels, the truth is 1 and 2: Dice 2/3 and 0, cross-entropy 0 and
    # 30. Class 3 is absent from both: Dice 1e-5 / (1e-5 + 1e-8 + 2 exp(-30)) = 0.999.
    logits = torch.zeros(1, 4, 1, 1, 2)
    logits[:, 1] = 30
    label = torch.tensor([1, 2]).reshape(1, 1, 1, 1, 2)
    loss = DiceCrossEntropyLoss()(logits, label)
    assert loss.item() == pytest.approx(-(2 / 3 + 0 + 0.999) / 3 + 15, abs=1e-4)


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_refuses_a_share_that_is_none(share):
    with pytest.raises(ValueError, match="give a share"):
        DiceCrossEntropyLoss(share)
