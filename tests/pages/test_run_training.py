"""What a report shows of a training."""

import re
import subprocess
import sys

import pytest

from stroke_nets.errors import UsageError
from stroke_nets.pages.plot import curves
from stroke_nets.pages.run_report import write_report

from . import runs
from .page import Page

PNG = b"\x89PNG of a case"


def facts_of(text):
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


@pytest.fixture
def run(tmp_path):
    runs.write_log(tmp_path / "run", epochs=4)
    return tmp_path / "run"


def test_training_shows_its_curves_and_that_nobody_trains(run):
    text = write_report(run).read_text()
    found = facts_of(text)
    assert "Training of run</h1>" in text
    assert (found["state"], found["epochs"]) == ("not running", "4 of 10")
    assert found["last epoch ended"] == "2023-11-14 22:17 UTC"  # 1.7e9 s and four minutes
    assert found["time of an epoch"] == "1 min 0 s"
    labels = re.findall(r"<title>(.*?)</title>", text.partition("<body>")[2])
    assert [name for name in labels if name.startswith("loss")] == [
        *("loss, 1: 1.000", "loss, 2: 0.500", "loss, 3: 0.333", "loss, 4: 0.250")
    ]
    assert "validation dice, 4: 0.400" in labels
    assert "training dice, 4: 0.200" in labels
    assert "time left, about" not in found


def test_time_left_while_another_process_trains(run):
    """Six of ten epochs are left, of a minute each."""
    (run / ".lock").touch()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", hold, str(run / ".lock")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as training:
        assert training.stdout.readline() == "held\n"
        found = facts_of(write_report(run).read_text())
        training.stdin.close()
    assert (found["state"], found["time left, about"]) == ("running", "6 min 0 s")
    assert facts_of(write_report(run).read_text())["state"] == "not running"


def test_finished_training(tmp_path):
    runs.write_log(tmp_path, epochs=2, planned=2)
    assert facts_of(write_report(tmp_path).read_text())["state"] == "finished"


def test_validation_cases_are_shown_by_name(run):
    (run / "validation").mkdir()
    (run / "validation" / "sub-1.png").write_bytes(PNG)
    images = Page(write_report(run).read_text()).all("img")
    assert [image["alt"].partition(":")[0] for image in images] == ["sub-1"]


def test_title_is_the_method_its_overlay_and_fold(run):
    config = run / "config.yaml"
    config.write_text(config.read_text() + "bundle: unet\noverlay: demo\nfold: 2\n")
    assert "<h1>Training of unet, demo, fold 2</h1>" in write_report(run).read_text()


def test_neither_trained_nor_evaluated(tmp_path):
    with pytest.raises(UsageError, match="no finished epoch and no evaluation there; train first"):
        write_report(tmp_path)


def test_curves_lie_within_the_axes():
    plot = curves("t", {"a": [(0, -1.0), (10, 2.0)], "b": [(5, 0.5)]}, "x", "y")
    assert [line.kind for line in plot.lines] == ["first", "second"]
    first, last = (tuple(map(float, point.split(","))) for point in plot.lines[0].points.split())
    assert (first[0], last[0]) == (plot.left, plot.right)
    assert plot.bottom >= first[1] > last[1]
