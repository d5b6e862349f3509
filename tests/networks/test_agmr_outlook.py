"""The outlook's modules, by parts that are tested elsewhere."""

import pytest
import torch

from stroke_nets.losses.patch_attention import PatchAttentionLoss
from stroke_nets.networks.agmr_net import CPA
from stroke_nets.networks.blocks.agmr_outlook import CheapMDU, MultiGrid


def test_several_grids_are_the_mean_of_cpas():
    torch.manual_seed(0)
    attention = MultiGrid(CPA, (3, 6, 12))
    features = torch.randn(2, 5, 24, 24)
    attended, maps = attention(features)
    parts = [cpa(features) for cpa in attention.grids]
    torch.testing.assert_close(attended, sum(part[0] for part in parts) / 3)
    assert [tuple(m.shape[2:]) for m in maps] == [(3, 3), (6, 6), (12, 12)]
    label = torch.zeros(2, 1, 24, 24)
    label[:, :, 5, 17] = 1
    apart = sum(PatchAttentionLoss()([m], label) for m in maps)  # each by its own prior map
    torch.testing.assert_close(PatchAttentionLoss()(maps, label), apart)


def test_one_grid_is_cpa():
    torch.manual_seed(0)
    attention = MultiGrid(CPA, (6,))
    features = torch.randn(1, 4, 12, 18)
    torch.testing.assert_close(attention(features)[0], attention.grids[0](features)[0])


@pytest.mark.parametrize("factorised", [False, True])
def test_cheap_mdu_doubles_as_mdu_does(factorised):
    torch.manual_seed(0)
    block = CheapMDU(8, factorised=factorised, dropout=0.0).train()
    features = torch.randn(2, 8, 5, 7, requires_grad=True)
    doubled = block(features)
    assert doubled.shape == (2, 8, 10, 14)
    doubled.sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_a_separable_kernel_is_a_column_and_a_row():
    """The factorised branch computes the deconvolution with the outer product of its kernels."""
    torch.manual_seed(0)
    share, column, row = CheapMDU(1, (5,), factorised=True).branches[0]
    column.bias.data.zero_()
    features = torch.randn(1, 1, 4, 6)
    outer = torch.einsum("ioxy,opzw->ipxw", column.weight, row.weight)
    whole = torch.nn.functional.conv_transpose2d(share(features), outer, row.bias, 2, 2, 1)
    torch.testing.assert_close(row(column(share(features))), whole)


@pytest.mark.parametrize("options", [{"channels": 6}, {"channels": 8, "kernel_sizes": (2, 3)}])
def test_cheap_mdu_refuses_what_cannot_be_shared(options):
    with pytest.raises(ValueError, match="sizes must be odd and their number must divide"):
        CheapMDU(**options)
