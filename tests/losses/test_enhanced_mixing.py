import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stroke_nets.losses.enhanced_mixing import EnhancedMixingLoss, enhanced_mixing_loss

REFERENCE = Path(__file__).parents[1] / "reference" / "baselines" / "loss_refs.npz"


def test_equals_the_published_d_unet_code():
    reference = np.load(REFERENCE)
    label, probability = (torch.from_numpy(reference[key]) for key in ("target", "prob"))
    expected = float(reference["eml"])
    assert expected == pytest.approx(0.737567, abs=1e-6)
    assert enhanced_mixing_loss(probability, label).item() == pytest.approx(expected, abs=1e-6)
    logits = torch.logit(probability.double())
    assert EnhancedMixingLoss()(logits, label).item() == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    # p = 1/2 twice, g = 1 and 0.  Focal: 0.48 * 0.5^1.1 * log 2 / 2 + 0.52 * 0.5^1.1 * log 2 / 2
    #   = 0.5^2.1 * log 2.  Dice: (2 * 0.5 + 1) / (1 + 0.5 + 1) = 0.8.
    expected = 0.5**2.1 * math.log(2) - math.log(0.8)
    loss = EnhancedMixingLoss()(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]))
    assert loss.item() == pytest.approx(expected)


def test_gamma_and_alpha():
    # One lesion pixel at p = 1/4: alpha (3/4)^2 log 4, Dice (0.5 + 1) / (1 + 1/16 + 1).
    expected = 0.3 * 0.75**2 * math.log(4) - math.log(1.5 / 2.0625)
    logits = torch.tensor([[[[-math.log(3)]]]])
    loss = EnhancedMixingLoss(gamma=2.0, alpha=0.3)(logits, torch.ones(1, 1, 1, 1))
    assert loss.item() == pytest.approx(expected)


def test_perfect_prediction_costs_nothing_and_failure_much():
    label = torch.zeros(1, 1, 4, 4)
    label[..., :2] = 1
    logits = 40 * (2 * label - 1)
    assert EnhancedMixingLoss()(logits, label).item() == pytest.approx(0, abs=1e-5)
    assert EnhancedMixingLoss()(-logits, label).item() > 8


def test_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 3, 3, requires_grad=True)
    label = (torch.rand(1, 1, 3, 3) > 0.5).float()
    EnhancedMixingLoss()(logits, label).backward()
    step = 0.01 * logits.grad / logits.grad.norm()
    difference = EnhancedMixingLoss()(logits + step, label) - EnhancedMixingLoss()(
        logits - step, label
    )
    assert difference.item() / 0.02 == pytest.approx(logits.grad.norm().item(), rel=1e-2)
