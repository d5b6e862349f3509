import json
import os
import subprocess
import sys

import pytest
import typer

from stroke_nets.cli import app
from stroke_nets.errors import DataError, UsageError
from stroke_nets.runs.interruption import EXIT_CODES


def run(*arguments):
    command = [sys.executable, "-c", "from stroke_nets.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_errors_are_one_line(tmp_path):
    done = run("manifest", str(tmp_path / "no"), "--image", "*", "--label", "x", "-o", "m.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_unknown_option_is_a_usage_error():
    assert run("simulate", "out", "--subject", "3").returncode == 2


def test_version():
    assert run("--version").stdout.strip() == "0.1.0"


def folds(*arguments):
    app(["folds", *map(str, arguments)], standalone_mode=False)


def test_folds_overwrites_nothing_unasked(simulated, tmp_path, capsys):
    path, out = tmp_path / "m.json", tmp_path / "new.json"
    path.write_bytes((simulated / "manifest.json").read_bytes())
    before = path.read_bytes()
    for options, message in {
        (): "give either --out FILE or --in-place",
        ("--in-place", "--out", out): "give either --out FILE or --in-place",
        ("--out", path): "is there already",
        ("--out", tmp_path / "no" / "m.json"): "its folder is missing",
    }.items():
        with pytest.raises(UsageError, match=message):
            folds(path, *options)
    folds(path, "--folds", 4, "--seed", 7, "--out", out)
    assert path.read_bytes() == before
    capsys.readouterr()
    folds(path, "--folds", 4, "--seed", 7, "--in-place")
    assert capsys.readouterr().out == f"wrote {path}: folds of 1, 1, 1, 1 subjects\n"
    assert path.read_bytes() == out.read_bytes() != before


def test_folds_of_a_list_that_lacks_subjects(simulated, tmp_path):
    lists, out = tmp_path / "lists.csv", tmp_path / "new.json"
    lists.write_text("subject,fold\nsub-1,0\nsub-2,1\nsub-3,1\n")
    with pytest.raises(DataError, match=r"lists\.csv: lacks the manifest's 'sub-4'; "):
        folds(simulated / "manifest.json", "--published", lists, "--out", out)
    assert not out.exists()


def test_tables_and_figures_from_nothing_say_what_is_missing(tmp_path):
    out = str(tmp_path / "out")
    done = run("tables", "agmr_table03", "--runs", str(tmp_path), "-o", out)
    assert done.returncode == 0
    assert "agmr_table03.md, .tex and .csv: 0 of 11 rows run" in done.stdout
    done = run("figures", "--runs", str(tmp_path), "-o", out)
    assert done.returncode == 2
    assert done.stdout.count("not drawn: ") == 7
    assert done.stderr.count("\n") == 1
    assert run("tables", "--runs", str(tmp_path / "no")).returncode == 2


def test_normalize_needs_a_scan_or_a_mask_to_bring_back():
    assert run("normalize", "scan.nii.gz").returncode == 2
    assert run("normalize", "--back", "mask.nii.gz", "out.nii.gz").returncode == 2


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_its_own(name):
    assert f"Example: stroke-nets {name} " in f"{COMMANDS[name].help} "


def test_help_loads_nothing_that_takes_seconds():
    heavy = "{'torch', 'monai', 'numpy', 'nibabel', 'pandas', 'matplotlib'}"
    code = f"import sys, stroke_nets.cli; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_exit_codes_stand_in_the_help():
    text = typer.main.get_command(app).help
    for code in (0, UsageError.exit_code, DataError.exit_code, *EXIT_CODES.values()):
        assert f"{code} " in text


def test_scripts_read_json(simulated, tmp_path, capsys):
    folds(simulated / "manifest.json", "--folds", 2, "--out", tmp_path / "m.json", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told == {"manifest": str(tmp_path / "m.json"), "subjects": [2, 2]}


def test_quiet_says_nothing(simulated, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "0")  # --quiet changes it for the process
    folds(simulated / "manifest.json", "--folds", 2, "--out", tmp_path / "m.json", "--quiet")
    assert capsys.readouterr() == ("", "")
    assert os.environ["TQDM_DISABLE"] == "1"
