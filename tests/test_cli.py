import errno
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from stroke_nets import cli
from stroke_nets.cli import app
from stroke_nets.commands import train
from stroke_nets.errors import DataError, UsageError
from stroke_nets.progress import HIDDEN
from stroke_nets.runs.interruption import EXIT_CODES

COMMANDS = typer.main.get_command(app).commands
ROOT = Path(__file__).parents[1]


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments], prog_name="stroke-nets")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def process(*arguments, **options):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "stroke_nets", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_errors_are_one_line(tmp_path):
    done = process("manifest", tmp_path / "no", "m.json", "--image", "*", "--label", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "out", "--subject", "3"], "stroke-nets simulate: No such option: --subject"),
        (["predit"], "No such command 'predit'"),
        (["train"], "Missing argument 'METHOD'"),
        (["tables", "--policy", "strict"], "'strict' is not one of 'paper', 'penalty'"),
        (["--verbose"], "No such option: --verbose"),
        (["evaluate", "masks", "truth"], "OUT: give the file or folder to write, once"),
        (["evaluate", "masks"], "give either MASKS TRUTH OUT, or METHOD --data DATA"),
        (["evaluate", "unet", "out", "--data", "D"], "give either MASKS TRUTH OUT, or METHOD"),
        (["pack", "unet", "dist", "--out", "dist"], "OUT: give the file or folder to write, once"),
        (["train", "agmr_ne", "--data", "D"], "did you mean agmr_net?"),
        (["train", "agmr_net", "--data", "D", "--overlay", "dmo"], "did you mean demo?"),
        (["train", "agmr_net", "--data", "D", "--set", "fold"], "--set fold: write KEY=VALUE"),
        (["train", "mscsa_ensemble", "--data", "D"], "no train step, only infer, evaluate"),
    ],
)
def test_wrong_usage_is_one_line(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_command_the_help_is_shown():
    done = run()
    assert done.exit_code == 2
    for panel in ("Predict", "Data", "Train", "Papers", "Share and serve"):
        assert panel in done.output


def test_version():
    assert run("--version").stdout.strip() == "0.1.0"


def test_folds_overwrites_nothing_unasked(simulated, tmp_path):
    path, out = tmp_path / "m.json", tmp_path / "new.json"
    path.write_bytes((simulated / "manifest.json").read_bytes())
    before = path.read_bytes()
    for options, message in {
        (): "give either OUT, a new manifest to write, or --in-place",
        (out, "--in-place"): "give either OUT, a new manifest to write, or --in-place",
        (path,): "exists already",
        (tmp_path / "no" / "m.json",): "its folder is missing",
    }.items():
        assert message in run("folds", path, *options).stderr
    assert run("folds", path, out, "--folds", 4, "--seed", 7).exit_code == 0
    assert path.read_bytes() == before
    done = run("folds", path, "--folds", 4, "--seed", 7, "--in-place")
    assert done.stdout == f"wrote {path}: folds of 1, 1, 1, 1 subjects\n"
    assert path.read_bytes() == out.read_bytes() != before


def test_folds_of_a_list_that_lacks_subjects(simulated, tmp_path):
    lists, out = tmp_path / "lists.csv", tmp_path / "new.json"
    lists.write_text("subject,fold\nsub-1,0\nsub-2,1\nsub-3,1\n")
    done = run("folds", simulated / "manifest.json", out, "--published", lists)
    assert done.exit_code == 3
    assert "lists.csv: lacks the manifest's 'sub-4'; " in done.stderr
    assert not out.exists()


def test_a_program_gets_the_errors_themselves(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        app(["tables", "--runs", str(tmp_path / "no")], standalone_mode=False)


def test_tables_and_figures_from_nothing_say_what_is_missing(tmp_path):
    out = tmp_path / "out"
    done = run("tables", "agmr_table03", "--runs", tmp_path, "-o", out)
    assert done.exit_code == 0
    assert "agmr_table03.md, .tex and .csv: 0 of 11 rows run" in done.stdout
    told = json.loads(run("tables", "agmr_table03", "--runs", tmp_path, "-o", out, "--json").stdout)
    assert told == [{"table": str(out / "agmr_table03.md"), "rows": 11, "rows_run": 0}]
    done = run("figures", "--runs", tmp_path, "-o", out)
    assert done.exit_code == 2
    assert done.stdout.count("not drawn: ") == 7
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_its_own(name):
    assert f"Example: stroke-nets {name} " in f"{COMMANDS[name].help} "


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    for one in COMMANDS[name].params:
        assert one.name == "help" or one.hidden or one.help, one.name


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if not c.hidden and n != "label"])
def test_every_command_can_be_silent_and_speak_json(name):  # label becomes the server
    options = {option for one in COMMANDS[name].params for option in one.opts}
    assert {"--json", "--quiet"} <= options


def test_help_loads_nothing_that_takes_seconds():
    heavy = "{'torch', 'monai', 'numpy', 'nibabel', 'pandas', 'matplotlib'}"
    code = f"import sys, stroke_nets.cli; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_exit_codes_stand_in_the_help():
    text = typer.main.get_command(app).help
    for code in (0, UsageError.exit_code, DataError.exit_code, *EXIT_CODES.values()):
        assert f"{code} " in text


def test_scripts_read_json(simulated, tmp_path):
    path = tmp_path / "m.json"
    done = run("folds", simulated / "manifest.json", "--folds", 2, "--out", path, "--json")
    assert json.loads(done.stdout) == {"manifest": str(path), "subjects": [2, 2]}


def test_quiet_says_nothing(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv(HIDDEN, "to be removed after the test")
    path = tmp_path / "m.json"
    done = run("folds", simulated / "manifest.json", path, "--folds", 2, "--quiet")
    assert (done.stdout, done.stderr) == ("", "")
    assert os.environ[HIDDEN] == "1"


def test_the_short_forms_are_the_long_commands(monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["--data", "2024", "--fold", "1", "--set", "max_epochs=1", "--dry-run", "--json"]
    command = json.loads(run("train", "agmr_net", *words, "--overlay", "demo").stdout)["command"]
    configs = "bundles/agmr_net/configs"
    assert command == [
        *[sys.executable, "-m", "monai.bundle", "run", "training"],
        *["--bundle_root", "bundles/agmr_net"],
        *["--config_file", f'["{configs}/train.yaml", "{configs}/demo.yaml"]'],
        *["--dataset_dir", "'2024'", "--fold", "1", "--max_epochs", "1"],  # a folder, no number
    ]
    line = run("infer", "unet", "--data", "D", "--checkpoint", "a b.pt", "--dry-run").stdout
    assert "run inference --bundle_root bundles/unet" in line
    assert line.endswith("--dataset_dir D --checkpoint 'a b.pt'\n")
    line = run("evaluate", "unet", "--data", "D", "--part", "train", "--dry-run").stdout
    assert line.endswith("--fold 0 --part train --policy paper --connectivity 6 --workers 2\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_errors_of_the_system_are_one_line(number, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number), "/data/out.json")

    monkeypatch.setattr(train, "bundle_command", fail)
    done = run("train", "unet", "--data", "D", "--dry-run")
    assert done.exit_code == 3
    assert done.stderr.startswith(f"error: /data/out.json: {os.strerror(number)}; ")
    assert done.stderr.count("\n") == 1


def test_an_error_of_the_program_stays_a_traceback(monkeypatch):
    def fail(*_):
        try:
            raise FileNotFoundError(errno.ENOENT, "no such file", "x")
        except FileNotFoundError:
            raise AttributeError("a mistake while handling it")  # noqa: B904 - that is the point

    monkeypatch.setattr(train, "bundle_command", fail)
    words = ["train", "unet", "--data", "D", "--dry-run"]
    assert isinstance(CliRunner().invoke(app, words).exception, AttributeError)


def test_S1_a_full_disk_is_one_line_that_names_the_file(simulated, tmp_path, full_disk):
    out = tmp_path / "m.json"
    with full_disk(10):
        done = run("folds", simulated / "manifest.json", out, "--folds", 2)
    assert done.exit_code == 3
    assert done.stderr.startswith(f"error: {out}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_S2_a_user_without_an_account_has_a_name(monkeypatch):
    def nobody(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("LOGNAME", raising=False)
    cli.name_the_user()
    assert os.environ["LOGNAME"] == f"user{os.getuid()}"


IMPORTING = """
import os, signal, sys
from stroke_nets import cli

class Stop:
    def find_spec(name, *ignored):
        if name == "stroke_nets.commands":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop)
cli.main()
"""


def test_S5_a_command_that_is_stopped_while_it_is_imported_says_so():
    command = [sys.executable, "-c", IMPORTING, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CODES[signal.SIGTERM]
    assert done.stderr == f"error: stopped by SIGTERM: {cli.RESUME}\n"
    assert done.stdout == ""


def test_S5_a_signal_after_the_end_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stroke-nets", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not ended.value.code


def test_S4_a_stopped_command_says_so(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stroke_nets", "simulate", str(out), "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopped:
        while not out.is_dir():
            time.sleep(0.05)
        stopped.terminate()
        _, error = stopped.communicate()
    assert stopped.returncode == EXIT_CODES[signal.SIGTERM]
    assert "error: stopped by SIGTERM: what is finished is kept; " in error
    assert "Traceback" not in error
