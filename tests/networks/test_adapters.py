import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stroke_nets.networks.adapters import (
    LastHead,
    PaddedSlices,
    ScatterUnpool,
    SliceOfVolume,
    traceable_unpooling,
    without_last,
)


class Watched(nn.Module):
    """Returns what `answer` makes of its input, and keeps the input."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, slices):
        self.seen = slices
        return self.answer(slices)


def test_padding_is_zeros_below_and_right_and_is_cut_off():
    inner = Watched(lambda slices: 2 * slices[:, :1])
    slices = torch.rand(1, 4, 5, 8)
    assert torch.equal(PaddedSlices(inner, multiple=8)(slices), 2 * slices[:, :1])
    assert torch.equal(inner.seen, F.pad(slices, (0, 0, 0, 3)))


def test_too_small_a_batch_is_refused_in_training_only():
    network = PaddedSlices(nn.Identity(), smallest_batch=2)
    with pytest.raises(ValueError, match="got 1; raise batch_size"):
        network(torch.zeros(1, 1, 16, 16))
    assert network.eval()(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 16, 16)


def test_the_last_head_answers_and_training_sees_all():
    network = LastHead(Watched(lambda slices: [slices[:, i : i + 1] for i in range(3)]), multiple=4)
    slices = torch.rand(2, 3, 5, 6)
    logits, others = network(slices)
    assert torch.equal(torch.cat([*others, logits], dim=1), slices)
    assert torch.equal(network.eval()(slices), slices[:, 2:])


def test_slices_become_depth_and_one_comes_back():
    inner = Watched(lambda volume: volume)
    slices = torch.rand(2, 4, 16, 16)
    assert torch.equal(SliceOfVolume(inner, index=2)(slices), slices[:, 2:3])
    assert torch.equal(inner.seen, slices.permute(0, 2, 3, 1)[:, None])


def test_scatter_unpools_as_pytorch_does():
    image = torch.randn(2, 3, 8, 6)
    pooled, indices = F.max_pool2d(image, 2, return_indices=True)
    expected = F.max_unpool2d(pooled, indices, 2)
    assert torch.equal(ScatterUnpool()(pooled, indices), expected)
    network = traceable_unpooling(nn.Sequential(nn.Sequential(nn.MaxUnpool2d(2)), nn.ReLU()))
    assert isinstance(network[0][0], ScatterUnpool)


def test_without_last():
    assert [type(m) for m in without_last(nn.Sequential(nn.ReLU(), nn.Identity()))] == [nn.ReLU]


def test_pytorchcv_works_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # an import of it now fails
    for name in [name for name in sys.modules if name.split(".")[0] == "pytorchcv"]:
        monkeypatch.delitem(sys.modules, name)
    from pytorchcv.models.deeplabv3 import DeepLabv3
    from pytorchcv.models.pspnet import PSPNet
    from pytorchcv.models.resnetd import resnetd50b
    from pytorchcv.models.segnet import segnet_cityscapes

    def published(build):
        resnet = resnetd50b(ordinary_init=False, bends=(3,), in_channels=4)
        backbone = without_last(resnet.features)
        return build(backbone, aux=False, in_channels=4, in_size=(192, 192), num_classes=1)

    with torch.device("meta"):
        networks = [
            segnet_cityscapes(in_channels=4, in_size=(192, 192), num_classes=1),
            published(PSPNet),
            published(DeepLabv3),
        ]
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [29_444_161, 46_706_689, 39_758_081]
