"""A network that trains in bfloat16 on the CPU."""

import pytest
import torch

from stroke_nets.errors import UsageError
from stroke_nets.training.bfloat16 import BFloat16Inferer


class TwoLevels(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, batch):
        logits = self.layer(batch)
        return logits, [logits[:1]]


@pytest.mark.parametrize(("precision", "used"), [("bfloat16", True), ("float32", False)])
def test_every_level_is_float32_again(precision, used):
    torch.manual_seed(0)
    network, batch = TwoLevels(), torch.randn(4, 3)
    logits, (deeper,) = BFloat16Inferer(precision)(batch, network)
    assert logits.dtype == deeper.dtype == torch.float32
    assert torch.equal(logits, logits.bfloat16().float()) is used  # it was rounded
    logits.sum().backward()
    assert network.layer.weight.grad.dtype == torch.float32


def test_an_unknown_precision_is_refused_when_a_training_starts():
    with pytest.raises(UsageError, match="precision 'half': choose one of"):
        BFloat16Inferer("half")
