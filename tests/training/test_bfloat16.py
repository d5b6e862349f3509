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


@pytest.mark.parametrize("depth", [2, 3])
def test_the_gradient_of_a_shallow_volume_is_right(depth):
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(16, 32, 3, padding=1)
    volume = torch.randn(4, 16, depth, 24, 24)
    gradients = []
    for precision in ("float32", "bfloat16"):
        convolution.zero_grad()
        BFloat16Inferer(precision)(volume, convolution).pow(2).mean().backward()
        gradients.append(convolution.weight.grad)
    difference = (gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max()
    assert difference < 0.02  # bfloat16 rounds to 1 in 256; wrong gradients differ by 0.9 or more
