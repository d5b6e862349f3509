from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

CONFIGS = Path(__file__).parents[2] / "bundles" / "agmr_net" / "configs"
COUNTS = {
    "table05_baseline": 9_505_123,
    "table05_cpa": 9_511_603,
    "table05_cff": 9_515_363,
    "table05_mdu": 23_782_563,
    "table05_cpa_cff": 9_521_843,
    "table06_fa": 9_505_613,
    "table07_add": 23_783_923,
    "table07_concat": 23_825_459,
    "table07_cff_concat": 23_840_819,
    "table08_cff_r32": 9_505_123,
    "table09_size_3": 12_658_163,
    "table09_size_5": 18_228_723,
    "table09_size_7": 26_584_563,
    "table09_size_9": 37_725_683,
    "table10_encoder": 13_091_923,
    "table10_skip": 13_091_923,
    "outlook_multi_grid": 23_903_323,
    "outlook_mdu_depthwise": 9_913_203,
    "outlook_mdu_factorised": 10_919_283,
}
GFLOP = {  # of a slice, 2 for a multiplication with its addition; the paper prints none
    "outlook_multi_grid": 48.43,
    "outlook_mdu_depthwise": 36.44,
    "outlook_mdu_factorised": 37.71,
}


def overlay_path(name):
    return CONFIGS / "ablations" / f"{name}.yaml"


@pytest.fixture
def merged(bundle_config):
    """A function: the training's configuration with ablations over it."""
    return lambda *overlays: bundle_config(
        "agmr_net", "train", *(f"ablations/{name}" for name in overlays)
    )


def network_of(parser):
    with torch.device("meta"):
        return parser.get_parsed_content("network_def")


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_overlay_is_counted():
    assert {path.stem for path in (CONFIGS / "ablations").glob("*.yaml")} == set(COUNTS)


def test_train_yaml_is_the_full_network(merged):
    assert count(network_of(merged())) == 23_799_283


@pytest.mark.parametrize("name", COUNTS)
def test_overlay_gives_its_row(name, merged):
    parser = merged(name)
    assert parser["overlay"] == name
    assert count(network_of(parser)) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_overlay_opens_with_its_row_count_and_command(name):
    text = overlay_path(name).read_text()
    comment = [line for line in text.splitlines() if line.startswith("#")]
    head = "# Outlook of the paper: " if name in GFLOP else f"# Table {int(name[5:7])}, "
    assert text.startswith(head)
    assert f"# {COUNTS[name]:,} parameters." in comment
    assert f"ablations/{name}.yaml" in "".join(comment)
    assert 2 <= len(text.splitlines()) - len(comment) <= 6


@pytest.mark.parametrize("name", GFLOP)
def test_operations_of_the_outlook_are_as_its_overlay_says(name, merged):
    network = network_of(merged(name)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 4, 192, 192, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(GFLOP[name], abs=5e-3)
    assert f"{GFLOP[name]} GFLOP a slice" in overlay_path(name).read_text()


@pytest.mark.parametrize("name", COUNTS)
def test_overlay_runs_narrow(name, merged):
    parser = merged(name)
    parser["network_def::widths"] = [4, 8, 8, 8, 16]
    network = parser.get_parsed_content("network_def").train()
    with torch.no_grad():
        logits, maps = network(torch.randn(2, 4, 16, 16))
    assert logits.shape == (2, 1, 16, 16)
    without_cpa = {"table05_baseline", "table05_cff", "table05_mdu", "table06_fa"}
    grids = 3 if name == "outlook_multi_grid" else 1
    assert len(maps) == (0 if name in without_cpa | {"table08_cff_r32"} else 5 * grids)


def test_overlays_change_only_the_network():
    for name in COUNTS:
        keys = set(ConfigParser.load_config_file(str(overlay_path(name))))
        assert {key.split("::")[0] for key in keys} == {"overlay", "network_def"}
