import math

import pytest
import torch

from stroke_nets.losses.agmr import AGMRLoss
from stroke_nets.networks.agmr_net import AGMRNet

# p = 1/2 and one lesion column of two, on 1 x 2 pixels:
#   L1 = 0.5^2.1 log 2 - log(2 / 2.5)            (see test_enhanced_mixing.py)
#   L2: the label's step has a magnitude of 4 in both columns, the prediction 0.001: 3.999
#   L3: logits 0 against any map: log 2 for each stage
LOGITS = torch.zeros(1, 1, 1, 2)
LABEL = torch.tensor([[[[1.0, 0.0]]]])
MAPS = [torch.zeros(1, 1, 6, 6)] * 5
L1 = 0.5**2.1 * math.log(2) - math.log(0.8)
L2 = 3.999
L3 = 5 * math.log(2)


def test_by_hand():
    loss = AGMRLoss()((LOGITS, MAPS), LABEL)
    assert loss.item() == pytest.approx(L1 + L2 + 0.15 * L3, abs=1e-5)


def test_weights():
    loss = AGMRLoss(mixing=2.0, boundary=0.5, attention=1.0)((LOGITS, MAPS), LABEL)
    assert loss.item() == pytest.approx(2 * L1 + 0.5 * L2 + L3, abs=1e-5)


@pytest.mark.parametrize("pred", [LOGITS, (LOGITS, [])])
def test_logits_alone(pred):
    assert AGMRLoss()(pred, LABEL).item() == pytest.approx(L1 + L2, abs=1e-5)


@pytest.mark.parametrize("lesion", [False, True])
def test_trains_the_network(lesion):
    torch.manual_seed(0)
    network = AGMRNet(widths=(4, 8, 8, 8, 16)).train()
    label = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    label[:, :, 8:20, 8:20] = int(lesion)
    loss = AGMRLoss()(network(torch.randn(2, 4, 32, 32)), label)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert all(s.attention.mlp[2].weight.grad.any() for s in (network.stage1, network.stage5))


def test_float32_under_autocast():
    torch.manual_seed(0)
    network = AGMRNet(widths=(4, 8, 8, 8, 16)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pred = network(torch.randn(2, 4, 32, 32))
        loss = AGMRLoss()(pred, torch.zeros(2, 1, 32, 32))
    assert pred[0].dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
