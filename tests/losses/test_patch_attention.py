import math

import pytest
import torch
import torch.nn.functional as F

from stroke_nets.losses.patch_attention import PatchAttentionLoss, prior_map


def test_prior_map_equals_max_pooling_by_32_at_192():
    torch.manual_seed(0)
    label = (torch.rand(2, 1, 192, 192) > 0.9995).float()
    expected = F.max_pool2d(label, 32)
    assert 0 < expected.mean() < 1
    assert torch.equal(prior_map(label), expected)


def test_prior_map_by_hand():
    label = torch.zeros(1, 1, 12, 12, dtype=torch.uint8)
    label[0, 0, 3, 10] = 1  # row 3 is in cell 1, column 10 in cell 5
    expected = torch.zeros(1, 1, 6, 6)
    expected[0, 0, 1, 5] = 1
    assert torch.equal(prior_map(label), expected)


@pytest.mark.parametrize("size", [(2, 2), (32, 32), (16, 80)])
def test_prior_map_of_sizes_that_six_does_not_divide(size):
    label = torch.zeros(1, 1, *size)
    assert not prior_map(label).any()
    label[0, 0, -1, -1] = 1
    assert prior_map(label)[0, 0, -1, -1] == 1


def test_sum_over_stages_by_hand():
    label = torch.zeros(1, 1, 6, 6)
    label[0, 0, 0, :] = 1  # 6 cells of 36
    zeros = torch.zeros(1, 1, 6, 6)  # log 2 in every cell
    twos = torch.full((1, 1, 6, 6), 2.0)
    # Logit 2: log(1 + e^-2) on the lesion, log(1 + e^2) elsewhere.
    two = (6 * math.log1p(math.exp(-2)) + 30 * math.log1p(math.exp(2))) / 36
    loss = PatchAttentionLoss()([zeros, twos, zeros], label)
    assert loss.item() == pytest.approx(2 * math.log(2) + two)


def test_grid_follows_the_map():
    label = torch.zeros(1, 1, 8, 8)
    label[0, 0, 0, 0] = 1
    logits = torch.full((1, 1, 2, 2), -50.0)
    logits[0, 0, 0, 0] = 50
    assert PatchAttentionLoss()([logits], label).item() == pytest.approx(0, abs=1e-6)


def test_no_maps_cost_nothing():
    loss = PatchAttentionLoss()([], torch.ones(1, 1, 12, 12, dtype=torch.uint8))
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert loss.item() == 0
