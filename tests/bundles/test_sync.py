import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sync(root, *options):
    command = [sys.executable, str(root / "bundles" / "_shared" / "sync.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("configs/train.yaml", "max_epochs: 150 "),  # part 2, before the bundle's own part 3
        ("configs/inference.yaml", "inference: '%run'"),  # part 5, the last
        ("configs/logging.conf", "level=WARNING"),
        ("LICENSE", "Apache License"),
    ],
)
def test_a_change_to_a_shared_part_is_reported_and_undone(tmp_path, file, text):
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


def test_a_bundles_own_part_is_its_own(tmp_path):
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    file = tmp_path / "bundles" / "unet" / "configs" / "train.yaml"
    file.write_text(file.read_text().replace("act: relu", "act: prelu"))
    assert sync(tmp_path, "--check").returncode == 0
    assert sync(tmp_path).stdout == ""
