import pytest
import torch

from stroke_nets.losses.clci_net import CLCINetLoss
from stroke_nets.losses.mean_over_heads import MeanOverHeads


def test_every_head_weighs_the_same():
    torch.manual_seed(0)
    heads, label = torch.randn(3, 2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    loss = CLCINetLoss()
    expected = sum(loss(head, label).item() for head in heads) / 3
    found = MeanOverHeads(loss)((heads[0], [heads[1], heads[2]]), label)
    assert found.item() == pytest.approx(expected)
    assert torch.equal(MeanOverHeads(loss)(heads[0], label), loss(heads[0], label))
