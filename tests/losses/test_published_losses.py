"""X-Net's and CLCI-Net's losses against the values of their published code, and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stroke_nets.losses.clci_net import CLCINetLoss
from stroke_nets.losses.x_net import XNetLoss

REFERENCE = Path(__file__).parents[1] / "reference" / "baselines" / "loss_refs.npz"
LOSSES = {"xnet": XNetLoss(), "clci": CLCINetLoss()}


@pytest.mark.parametrize(("name", "value"), [("xnet", 1.095027), ("clci", 0.482701)])
def test_equals_the_published_code(name, value):
    reference = np.load(REFERENCE)
    label = torch.from_numpy(reference["target"]).reshape(1, 1, -1)
    logits = torch.logit(torch.from_numpy(reference["prob"]).double()).reshape(1, 1, -1)
    found = LOSSES[name](logits, label).item()
    assert found == pytest.approx(float(reference[name]), abs=1e-6)  # float32 sums of 512 pixels
    assert found == pytest.approx(value, abs=1e-6)


def test_by_hand():
    # p = 1/2 twice, g = 1 and 0: sum(g p) = 1/2, sum(g) + sum(p) = 2, squares 1 + 1/2.
    logits, label = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    assert XNetLoss()(logits, label).item() == pytest.approx(math.log(2) + 1 - 2 * 0.5 / 2)
    assert CLCINetLoss()(logits, label).item() == pytest.approx(1 - (2 * 0.5 + 1) / (1.5 + 1))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_better_is_less(loss):
    label = torch.zeros(2, 1, 8, 8)
    label[..., :3] = 1
    good, bad = (loss(side * (2 * label - 1), label) for side in (9, -9))
    assert good < 0.01 < bad
