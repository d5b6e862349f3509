import json

import pytest
import typer

from stroke_nets import cli, doctor
from stroke_nets.doctor import Finding, as_text


def test_each_problem_is_told_with_its_mend(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path / "no"))
    (found,) = doctor.bundles()
    assert found.problem
    assert "use a clone, or set STROKE_NETS_BUNDLES" in found.value
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path))
    there, weights = doctor.bundles()
    assert there == Finding("bundles", f"0 in {tmp_path}")
    assert weights.problem
    assert "predict --checkpoint" in weights.fix
    monkeypatch.setattr(doctor, "free_memory", lambda: 1e9)
    memory = next(one for one in doctor.machine() if one.name == "free memory")
    assert memory == Finding("free memory", "1.0 GB", True, memory.fix)
    monkeypatch.setattr(doctor, "version", lambda package: None)
    assert (
        next(one for one in doctor.versions() if one.name == "monai").fix == "pip install 'monai'"
    )
    assert all(one.fix and not one.problem for one in doctor.extras())


def test_the_time_for_a_scan_is_measured_with_the_weights_that_are_there(runs, monkeypatch):
    weights = doctor.choose(["agmr_net"], [runs["agmr_net"]])
    monkeypatch.setattr(doctor, "choose", lambda methods: weights)
    (found,) = doctor.speed()
    assert found.value.startswith("agmr_net on ")
    assert not found.problem


def test_the_exit_code_tells_whether_something_is_wrong(monkeypatch, capsys):
    findings = [Finding("a", "1"), Finding("bc", "2", fix="more")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    with pytest.raises(typer.Exit) as done:
        cli.doctor(as_json=True, quiet=False)
    assert done.value.exit_code == 0
    assert json.loads(capsys.readouterr().out)[1]["fix"] == "more"
    findings.append(Finding("d", "3", True, "fix it"))
    with pytest.raises(typer.Exit) as done:
        cli.doctor(as_json=False, quiet=True)
    assert done.value.exit_code == 3
    assert capsys.readouterr().out == as_text(findings) + "\n"
    assert as_text(findings).splitlines() == [
        "ok      a   1",
        "note    bc  2; more",
        "PROBLEM d   3; fix it",
        "1 problems",
    ]
