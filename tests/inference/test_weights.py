import json

import pytest

from stroke_nets.bundle_folders import weights_list, with_weights
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.weights import choose, registers
from stroke_nets.scans.reader import sha256


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    """Two bundles, of which the second has published weights."""
    for name in ("first", "second"):
        configs = tmp_path / name / "configs"
        (configs / "ablations").mkdir(parents=True)
        (configs / "metadata.json").write_text("{}")
        (configs / "narrow.yaml").write_text("overlay: narrow\n")
        (configs / "inference.yaml").write_text("overlay: default\n")
        (configs / "ablations" / "without_it.yaml").write_text("overlay: without_it\n")
    models = tmp_path / "second" / "models"
    models.mkdir()
    (models / "narrow.safetensors").write_bytes(b"weights")
    entry = {
        "file": "narrow.safetensors",
        "overlay": "narrow",
        "sha256": sha256(models / "narrow.safetensors"),
        "trained_on": "simulated patients",
        "date": "2026-11-21",
    }
    (models / "weights.json").write_text(json.dumps([entry]))
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path))
    return tmp_path


def test_published_weights_are_the_default(bundles):
    assert with_weights() == ["second"]
    assert weights_list(bundles / "first") == []
    (weights,) = choose(())
    assert weights.file == bundles / "second" / "models" / "narrow.safetensors"
    assert weights.overlay == (bundles / "second" / "configs" / "narrow.yaml",)
    assert weights.facts["trained_on"] == "simulated patients"
    assert weights.title == "second (narrow): narrow.safetensors, trained on simulated patients"


def test_the_best_is_the_default(bundles):
    entry = weights_list(bundles / "second")[0]
    (bundles / "first" / "models").mkdir()

    def publish(name, **dice):
        (bundles / name / "models" / "weights.json").write_text(json.dumps([entry | dice]))

    publish("first", dice_simulated=0.2)
    publish("second", dice_simulated=0.4)
    assert with_weights() == ["second", "first"]
    publish("first", dice_simulated=0.2, dice_real=0.1)
    assert with_weights() == ["first", "second"]


def test_scans_of_diffusion_have_weights_of_their_own(bundles):
    with pytest.raises(UsageError, match="no published weights of diffusion here"):
        choose((), contrast="diffusion")
    listed = bundles / "second" / "models" / "weights.json"
    (of_t1w,) = json.loads(listed.read_text())
    of_dwi = of_t1w | {"overlay": "without_it", "contrast": "diffusion"}
    listed.write_text(json.dumps([of_dwi, of_t1w]))
    for methods in ((), ("second",)):
        assert choose(methods)[0].facts["overlay"] == "narrow"
        assert choose(methods, contrast="diffusion")[0].facts["overlay"] == "without_it"
    assert choose((), overlay="without_it")[0].facts["overlay"] == "without_it"
    with pytest.raises(UsageError, match="first: no published weights of diffusion"):
        choose(["first"], contrast="diffusion")


def test_damaged_or_missing_weights_are_refused(bundles):
    file = bundles / "second" / "models" / "narrow.safetensors"
    file.write_bytes(b"weighty")
    with pytest.raises(DataError, match="not what"):
        choose(())
    file.unlink()
    with pytest.raises(DataError, match=r"narrow\.safetensors: missing"):
        choose(())
    (bundles / "second" / "models" / "weights.json").write_text("[{}]")
    with pytest.raises(DataError, match="not a list of weights"):
        choose(())


def test_without_weights_it_says_what_to_do(bundles):
    with pytest.raises(UsageError, match="of T1w; there are some of second"):
        choose(["first"])
    (bundles / "second" / "models" / "weights.json").unlink()
    with pytest.raises(UsageError, match="give --method BUNDLE --checkpoint FILE"):
        choose(())
    with pytest.raises(UsageError, match="did you mean first"):
        choose(["firts"])


def test_a_checkpoint_brings_the_settings_of_its_run(bundles, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    config = {"bundle": "first", "overlay": "narrow", "widths": [4, 8]}
    config |= {"dataset_dir": "/data", "imports": ["$import torch"]}  # these are of the training
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    (weights,) = choose(["first"], [checkpoint])
    assert weights.overlay == (bundles / "first" / "configs" / "narrow.yaml",)
    assert weights.settings == {"widths": [4, 8]}
    assert weights.facts["overlay"] == "narrow"
    (weights,) = choose(["first"], [checkpoint], "without_it")
    assert (weights.overlay[0].stem, weights.settings) == ("without_it", {})
    link = tmp_path / "best.pt"
    link.symlink_to(checkpoint)
    assert choose(["first"], [link])[0].settings == {"widths": [4, 8]}
    intensity = {"_target_": "monai.transforms.ScaleIntensityd", "keys": "image"}
    config |= {"spacing": None, "intensity": intensity}
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    (other,) = choose(["first"], [checkpoint])
    assert other.settings == {"widths": [4, 8], "spacing": None, "intensity": intensity}
    assert other.digest() != weights.digest()
    config["network_def"] = {"_target_": "os.system", "command": "true"}
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"network_def#_target_ runs code .*'os.system'.* --trust"):
        choose(["first"], [checkpoint])
    assert choose(["first"], [checkpoint], "without_it")[0].settings == {}  # the bundle's network
    assert "network_def" in choose(["first"], [checkpoint], trust=True)[0].settings
    with pytest.raises(UsageError, match="of a training of first; say --method first"):
        choose(["second"], [checkpoint])
    with pytest.raises(UsageError, match=r"--overlay narow: .* did you mean narrow"):
        choose(["first"], [checkpoint], "narow")
    with pytest.raises(UsageError, match="2 for 1 methods"):
        choose(["first"], [checkpoint, checkpoint])
    with pytest.raises(UsageError, match="no such file; train first"):
        choose(["first"], [tmp_path / "no.pt"])


def test_cases_of_a_runs_data_set_are_seen_as_in_training_and_all_others_registered(tmp_path):
    own, published = "runs/unet/default/fold0/checkpoints/last.pt", "models/model.pt"
    assert registers(own, str(tmp_path))  # a folder of scans as they come
    assert not registers(own, str(tmp_path), "manifest.json")
    (tmp_path / "manifest.json").touch()
    assert not registers(own, str(tmp_path))
    assert registers(published, str(tmp_path))
