"""What the bundles ship under ``models/``: as listed, small, and fit for their overlay."""

import json
from pathlib import Path

import pytest

from stroke_nets.bundle_folders import weights_list
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.reader import sha256
from stroke_nets.training.checkpoint import load_weights

BUNDLES = Path(__file__).parents[2] / "bundles"
SHIPPED = [
    pytest.param(models, entry, id=f"{models.parent.name}/{entry['overlay']}")
    for models in sorted(BUNDLES.glob("*/models"))
    for entry in weights_list(models.parent)
]
LIMIT = 15_000_000  # bytes, of all together


def test_some_are_shipped_and_all_are_listed():
    listed = {param.values[0] / param.values[1]["file"] for param in SHIPPED}
    assert listed == set(BUNDLES.glob("*/models/*.safetensors"))
    assert BUNDLES / "mscsa_default" / "models" / "whole_brain.safetensors" in listed
    assert sum(file.stat().st_size for file in listed) <= LIMIT


@pytest.mark.parametrize(("models", "entry"), SHIPPED)
def test_entry_is_complete_and_true(models, entry):
    keys = {"file", "overlay", "sha256", "trained_on", "date", "dice_simulated", "dice_real"}
    assert set(entry) - {"volume_ratio", "contrast"} == keys | {"limits"}
    assert all(limit.endswith(".") for limit in entry["limits"])
    assert sha256(models / entry["file"]) == entry["sha256"]
    assert 0 < entry["dice_simulated"] < 1
    assert 0 < entry["dice_real"] < 1
    assert "simulated" in entry["trained_on"]


@pytest.mark.parametrize(("models", "entry"), SHIPPED)
def test_the_overlay_takes_the_weights(models, entry, bundle_config):
    parser = bundle_config(models.parent.name, "inference", entry["overlay"])
    assert parser.get("contrast", T1W) == entry.get("contrast", T1W)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_weights(models / entry["file"], network))


@pytest.mark.parametrize("bundle", sorted({param.values[0].parent for param in SHIPPED}))
def test_metadata_say_that_the_weights_come_from_simulated_patients(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["data_source"].startswith("shipped weights: simulated patients only")


@pytest.mark.parametrize("file", sorted(BUNDLES.glob("*/configs/metadata.json")))
def test_metadata_give_logits_no_range(file):
    """The networks return logits, which have none; MONAI writes an unknown range as []."""
    outputs = json.loads(file.read_text())["network_data_format"]["outputs"]
    assert outputs["pred"]["value_range"] == []
