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
