import json

import numpy as np
import pytest
import torch

from stroke_nets.bundle_folders import weights_list
from stroke_nets.errors import DataError, UsageError
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.scans.reader import sha256
from stroke_nets.training.checkpoint import load_network, load_weights
from stroke_nets.training.publish import Calibration, publish

WIDTHS = (4, 8, 8, 8, 16)
ABOUT = {"trained_on": "nothing", "date": "2026-01-01", "dice_simulated": 0.5}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return AGMRNet(widths=WIDTHS).eval()


@pytest.fixture(scope="module")
def models(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    torch.save({"network": network.state_dict()}, folder / "best.pt")
    publish(folder / "best.pt", network, folder / "models", "narrow", **ABOUT)
    return folder / "models"


def test_the_list_names_the_file_and_its_checksum(models):
    assert weights_list(models.parent) == [
        {"file": "narrow.safetensors", "overlay": "narrow"}
        | {"sha256": sha256(models / "narrow.safetensors")}
        | ABOUT
    ]


def test_publishing_again_gives_the_same_bytes_and_one_entry(models, network):
    before = (models / "narrow.safetensors").read_bytes()
    publish(models.parent / "best.pt", network, models, "narrow", **ABOUT)
    for overlay in ("another", "narrow"):  # new weights come first, others keep their place
        publish(models.parent / "best.pt", network, models, overlay, **ABOUT)
    assert (models / "narrow.safetensors").read_bytes() == before
    listed = json.loads((models / "weights.json").read_text())
    assert [entry["file"] for entry in listed] == ["another.safetensors", "narrow.safetensors"]


def test_halves_come_back_as_float32_and_predict_alike(models, network):
    loaded = load_network(AGMRNet(widths=WIDTHS), models / "narrow.safetensors")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    image = torch.rand(2, 4, 48, 48)
    with torch.inference_mode():
        found, wanted = loaded(image), network(image)
    # a half has 11 significant bits: 5e-4 of each weight, averaged out over each layer's many
    np.testing.assert_allclose(found, wanted, atol=5e-3 * float(wanted.abs().max()))


def test_calibration_is_a_part_of_the_weights(models, network):
    checkpoint, line = models.parent / "best.pt", Calibration("head", 0.5, -1.0)
    publish(checkpoint, network, models.parent / "calibrated", "narrow", line, **ABOUT)
    loaded = load_network(AGMRNet(widths=WIDTHS), models.parent / "calibrated/narrow.safetensors")
    plain = load_network(AGMRNet(widths=WIDTHS), models / "narrow.safetensors")
    image = torch.rand(2, 4, 48, 48)
    with torch.inference_mode():
        found, own = loaded(image), plain(image)
    # halving a half is exact; the bias is rounded anew, to 2 ** -11 of its size of about 1
    np.testing.assert_allclose(found, 0.5 * own - 1, atol=1e-3)


def test_of_two_classes_the_lesion_s_logit_is_shifted():
    weights = {"heads.1.weight": torch.ones(2, 3), "heads.1.bias": torch.tensor([1.0, 2.0])}
    found = Calibration("heads.1", 0.5, -1.0).of(weights)
    assert found["heads.1.bias"].tolist() == [0.5, 0.0]
    assert found["heads.1.weight"].unique().tolist() == [0.5]
    assert weights["heads.1.bias"].tolist() == [1.0, 2.0]


def test_weights_of_another_network_are_refused(models):
    with pytest.raises(DataError, match="of another network"):
        load_weights(models / "narrow.safetensors", AGMRNet(widths=(8, 8, 8, 8, 16)))


def test_a_broken_or_missing_file_is_named(tmp_path, network):
    (tmp_path / "narrow.safetensors").write_bytes(b"no such format")
    with pytest.raises(DataError, match=r"narrow\.safetensors: cannot be read"):
        load_weights(tmp_path / "narrow.safetensors", network)
    for name, text in (("annex.pt", "/annex/objects/SHA256E-s1--0.pt"), ("text.pt", "a text\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            load_weights(tmp_path / name, network)
    with pytest.raises(UsageError, match="no such file"):
        load_weights(tmp_path / "other.safetensors", network)
