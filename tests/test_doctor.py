"""What ``stroke-nets doctor`` finds, in folders and with packages that are really so."""

import json
import shutil
from hashlib import sha256

import pytest
from typer.testing import CliRunner

from stroke_nets import doctor
from stroke_nets.bundle_folders import find_bundle
from stroke_nets.cli import app
from stroke_nets.doctor import Condition, as_text
from stroke_nets.monai_label.bundle_copy import ServedWeights, write_weights


@pytest.fixture
def no_bundles(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path))
    return tmp_path


@pytest.fixture
def one_bundle(tmp_path, monkeypatch):
    """A folder of bundles with `unet` alone, which has narrow random weights."""
    bundle = shutil.copytree(find_bundle("unet"), tmp_path / "unet")
    file = bundle / "models" / "demo.pt"
    write_weights(bundle, ServedWeights("demo"), file)
    entry = {"file": "demo.pt", "overlay": "demo", "trained_on": "nothing"}
    entry["sha256"] = sha256(file.read_bytes()).hexdigest()
    (file.parent / "weights.json").write_text(json.dumps([entry]))
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path))
    return tmp_path


def named(findings, name):
    return next(one for one in findings if one.name == name)


def test_a_missing_folder_of_bundles_is_a_problem(no_bundles, monkeypatch):
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(no_bundles / "none"))
    (found,) = doctor.bundles()
    assert found.problem
    assert "restore it, or set STROKE_NETS_BUNDLES" in found.value


def test_bundles_without_weights_are_a_problem(no_bundles):
    there, weights = doctor.bundles()
    assert there == Condition("bundles", f"0 in {no_bundles}")
    assert weights.problem
    assert "predict --checkpoint" in weights.fix
    (speed,) = doctor.speed()
    assert (speed.value, speed.problem) == ("not measured", False)
    assert "no published weights" in speed.fix


def test_the_time_for_a_scan_is_measured_with_the_weights_that_are_there(one_bundle):
    there, weights = doctor.bundles()
    assert there == Condition("bundles", f"1 in {one_bundle}")
    assert weights == Condition("published weights", "unet")
    runs_by, speed = doctor.speed()
    assert runs_by == Condition("backend", "torch, float32", fix=runs_by.fix)
    assert speed.value.startswith("unet on ")
    assert not speed.problem


def test_too_little_of_something_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1e15)  # more than any machine has
    monkeypatch.setattr(doctor, "LEAST_DISK", 0)
    memory, disk = (named(doctor.machine(), name) for name in ("free memory", "free disk here"))
    assert memory.problem
    assert memory.fix.startswith("1000000 GB are needed; ")
    assert not disk.problem


def test_a_package_that_is_missing_or_too_old_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "LEAST_TORCH", (99, 0))
    found = list(doctor.versions())
    assert named(found, "torch").fix == "pip install 'torch>=99.0'"
    missing = Condition("no-such-package", "not installed", True, "pip install 'no-such-package'")
    assert found[-1] == missing


def test_openvino_is_named_only_where_predict_would_use_it(one_bundle, monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda package: None)
    runs_by, _ = doctor.speed()
    assert runs_by.value == "torch, float32"
    assert "if that were installed: pip install openvino" in runs_by.fix
    config = one_bundle / "unet" / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("backend: auto", "backend: torch"))
    runs_by, _ = doctor.speed()
    assert (runs_by.value, runs_by.fix) == ("torch, float32", "")


def test_the_exit_code_tells_whether_something_is_wrong(no_bundles):
    done = CliRunner().invoke(app, ["doctor", "--json"])
    findings = json.loads(done.output)
    assert [one["name"] for one in findings if one["problem"]][-1] == "published weights"
    assert done.exit_code == 3


def test_everything_is_listed_and_problems_are_counted(one_bundle):
    done = CliRunner().invoke(app, ["doctor"])
    *lines, last = done.output.splitlines()
    problems = sum(line.startswith("PROBLEM") for line in lines)
    assert last == f"{problems} problems"
    assert done.exit_code == (3 if problems else 0)
    assert any(line.split()[:3] == ["ok", "published", "weights"] for line in lines)


def test_as_text():
    findings = [
        Condition("a", "1"),
        Condition("bc", "2", fix="more"),
        Condition("d", "3", True, "this"),
    ]
    assert as_text(findings).splitlines() == [
        "         what  found  how to fix",
        "ok       a     1",
        "note     bc    2      more",
        "PROBLEM  d     3      this",
        "1 problems",
    ]
