import subprocess
import sys


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
