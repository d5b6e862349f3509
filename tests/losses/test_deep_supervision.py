import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from scipy import ndimage
from torch.nn.modules.loss import _Loss

from stroke_nets.losses.deep_supervision import DeepSupervisionLoss
from stroke_nets.losses.dice_cross_entropy import DiceCrossEntropyLoss

CONFIG = """
loss:
  _target_: stroke_nets.losses.deep_supervision.DeepSupervisionLoss
  weights: [8, 4, 2, 1, 0]
  loss: {_target_: stroke_nets.losses.dice_cross_entropy.DiceCrossEntropyLoss, hardest: 0.1}
"""


class Difference(_Loss):
    """Mean of logits less mean of label."""

    def forward(self, logits, label):
        assert logits.shape[2:] == label.shape[2:]
        return logits.mean() - label.mean()


def levels(*means):
    """A constant map for each level, halved in size from 16."""
    maps = [torch.full((1, 2, *(3 * [16 >> i])), mean) for i, mean in enumerate(means)]
    return maps[0], maps[1:]


def test_published_sums():
    label = torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    pred = levels(1.0, 10.0, 100.0, 1000.0, 10000.0)
    u_net = DeepSupervisionLoss(Difference(), [8, 4, 2, 1, 0])
    assert u_net(pred, label).item() == pytest.approx((8 + 40 + 200 + 1000) / 15)
    res_u_net = DeepSupervisionLoss(Difference(), [16, 8, 4, 2, 1])
    assert res_u_net(pred, label).item() == pytest.approx((16 + 80 + 400 + 2000 + 10000) / 31)
    assert u_net(pred[0], label).item() == 1


def test_a_level_of_weight_zero_is_not_touched():
    logits, extras = levels(1.0, 2.0, float("nan"))
    for level in (logits, *extras):
        level.requires_grad_()
    loss = DeepSupervisionLoss(Difference(), [2, 1, 0])
    loss((logits, extras), torch.zeros(1, 1, 16, 16, 16)).backward()
    assert logits.grad.sum() == pytest.approx(2 / 3)
    assert extras[0].grad.sum() == pytest.approx(1 / 3)
    assert extras[1].grad is None


def test_targets_are_downsampled_as_nnu_net_does():
    label = np.random.default_rng(0).integers(0, 5, (32, 32, 32))
    seen = []

    class Keep(_Loss):
        def forward(self, logits, target):
            seen.append(target[0, 0].numpy())
            return logits.mean()

    maps = [torch.zeros(1, 5, n, n, n) for n in (32, 16, 8, 4)]
    loss = DeepSupervisionLoss(Keep(), [8, 4, 2, 1])
    loss((maps[0], maps[1:]), torch.from_numpy(label)[None, None])
    for i, target in enumerate(seen):  # scikit-image's resize, which nnU-Net calls, is this zoom
        zoomed = ndimage.zoom(label, 0.5**i, order=0, mode="nearest", grid_mode=True)
        np.testing.assert_array_equal(target, zoomed)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_from_a_bundle_it_trains_every_weighted_level(classes):
    parser = ConfigParser(yaml.safe_load(CONFIG))
    loss = parser.get_parsed_content("loss")
    torch.manual_seed(0)
    maps = [torch.randn(2, classes, *(3 * [32 >> i]), requires_grad=True) for i in range(5)]
    label = torch.randint(0, classes, (2, 1, 32, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss((maps[0].bfloat16(), [m.bfloat16() for m in maps[1:]]), label)
    total.backward()
    assert total.dtype == torch.float32
    assert all(torch.isfinite(m.grad).all() and m.grad.any() for m in maps[:4])
    assert maps[4].grad is None
    plain = DiceCrossEntropyLoss(0.1)
    expected = sum(
        weight / 15 * plain(m.detach().bfloat16(), label[..., s::n, s::n, s::n])
        for weight, m, s, n in zip((8, 4, 2, 1), maps, (0, 1, 2, 4), (1, 2, 4, 8), strict=False)
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)  # float32


def test_refuses_what_does_not_fit():
    loss = DeepSupervisionLoss(Difference(), [2, 1])
    label = torch.zeros(1, 1, 16, 16, 16)
    with pytest.raises(ValueError, match="3 levels, 2 weights"):
        loss(levels(1.0, 2.0, 3.0), label)
    with pytest.raises(ValueError, match="differ in size"):
        loss(levels(1.0, 2.0), label[..., :8])
    for weights in ([0, 1], [1, -1]):
        with pytest.raises(ValueError, match="give positive ones"):
            DeepSupervisionLoss(Difference(), weights)
