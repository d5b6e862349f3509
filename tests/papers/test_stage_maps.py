import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.networks.blocks.agmr_ablations import NoAttention
from stroke_nets.papers.stage_maps import save_stage_maps

WIDTHS = (4, 8, 8, 8, 16)


@pytest.fixture
def case():
    torch.manual_seed(0)
    label = torch.zeros(1, 96, 96, 5)
    label[0, 40:70, 20:30, 3] = 1
    label[0, 40:50, 20:30, 1] = 1
    return {"image": torch.rand(1, 96, 96, 5), "label": label}


def saved(network, case, tmp_path, **options):
    save_stage_maps(network, case, tmp_path / "fold0" / "stage_maps.npz", **options)
    with np.load(tmp_path / "fold0" / "stage_maps.npz") as content:
        return dict(content)


def test_stages_of_the_slice_with_most_lesion(case, tmp_path):
    maps = saved(AGMRNet(widths=WIDTHS), case, tmp_path)
    np.testing.assert_array_equal(maps["image"], case["image"][0, ..., 3])
    np.testing.assert_array_equal(maps["label"], case["label"][0, ..., 3])
    expected = np.zeros((6, 6))
    expected[2:5, 1] = 1  # rows 40 to 69 and columns 20 to 29, in cells of 16
    np.testing.assert_array_equal(maps["prior"], expected)
    for stage, side in enumerate((96, 48, 24, 12, 6), start=1):
        attention = torch.from_numpy(maps[f"attention{stage}"])
        assert attention.shape == (6, 6)
        assert maps[f"input{stage}"].shape == (side, side)
        wide = F.interpolate(attention[None, None], (side, side), mode="nearest")[0, 0]
        attended = maps[f"input{stage}"] * (1 + wide.numpy())  # eq. 4; a mean commutes with it
        np.testing.assert_allclose(maps[f"output{stage}"], attended, rtol=1e-5)


def test_weights_of_both_fusions_are_those_of_the_network(case, tmp_path):
    network = AGMRNet(widths=WIDTHS)
    found = []
    handle = network.fusion3.plane_gate.register_forward_hook(lambda *call: found.append(call[2]))
    maps = saved(network, case, tmp_path, z=1)
    assert maps["plane_weight1"].shape == (WIDTHS[1],)
    np.testing.assert_array_equal(maps["plane_weight2"], found[0][0])
    handle.remove()
    assert not any(module._forward_hooks for module in network.modules())


def test_network_without_attention_leaves_it_out(case, tmp_path):
    maps = saved(AGMRNet(widths=WIDTHS, attention=NoAttention), case, tmp_path)
    assert set(maps) == {"image", "label", "plane_weight1", "plane_weight2"}
