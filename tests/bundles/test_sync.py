import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

ROOT = Path(__file__).parents[2]


def sync(root, *options):
    command = [sys.executable, str(root / "bundles" / "sync.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("configs/train.yaml", "max_epochs: 150 "),  # block 2, before the bundle's own block 3
        ("configs/inference.yaml", "inference: '%run'"),  # block 5, the last
        ("configs/logging.conf", "level=WARNING"),
        ("LICENSE", "Apache License"),
    ],
)
def test_a_change_to_a_repeated_block_is_reported_and_undone(tmp_path, file, text):
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    changed = tmp_path / "bundles" / "unet" / file
    before = changed.read_text()
    assert text in before
    changed.write_text(before.replace(text, "changed"))
    found = sync(tmp_path, "--check")
    assert (found.returncode, found.stdout.count("\n")) == (3, 1)
    assert str(changed) in found.stdout
    assert sync(tmp_path).returncode == 0
    assert changed.read_text() == before


def test_a_change_at_the_source_reaches_every_bundle_that_repeats_it(tmp_path):
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    source = tmp_path / "bundles" / "agmr_net" / "configs" / "accelerate.yaml"
    source.write_text(source.read_text().replace("fused: true", "fused: false"))
    assert sync(tmp_path).stdout.count("wrote") == 15
    for file in tmp_path.glob("bundles/*/configs/accelerate.yaml"):
        assert "fused: false" in file.read_text()


def test_a_block_that_is_nowhere_is_one_line(tmp_path):
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    file = tmp_path / "bundles" / "unet" / "configs" / "train.yaml"
    file.write_text(file.read_text().replace("5 ---- engines:", "5 ---- motors:"))
    done = sync(tmp_path, "--check")
    assert "agmr_net/configs/train.yaml: has no block '# 5 ---- motors'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundles_own_block_is_its_own(tmp_path):
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    file = tmp_path / "bundles" / "unet" / "configs" / "train.yaml"
    file.write_text(file.read_text().replace("act: relu", "act: prelu"))
    assert sync(tmp_path, "--check").returncode == 0
    assert sync(tmp_path).stdout == ""


@pytest.mark.parametrize("bundle", ["agmr_net", "mscsa_default"])
def test_training_and_inference_read_scans_alike(bundle):
    files = [ROOT / "bundles" / bundle / "configs" / f"{n}.yaml" for n in ("train", "inference")]
    one, other = (ConfigParser.load_config_file(str(file)) for file in files)
    for key in {"inferer", "intensity", "label_transform", "size"} & one.keys():
        assert one[key] == other[key]
    predicted = other["preprocessing"]["transforms"]
    registering = [t for t in predicted if "RegisterToTemplated" in str(t)]  # scans of any grid
    assert len(registering) == 1
    alike = [t for t in predicted if t not in registering]
    assert one["preprocessing"]["transforms"] == alike


def test_configurations_stay_short():
    lines = {file: len(file.read_text().splitlines()) for file in ROOT.glob("bundles/**/*.yaml")}
    assert sum(lines.values()) <= 5000
    assert lines[ROOT / "bundles" / "agmr_net" / "configs" / "train.yaml"] <= 130
