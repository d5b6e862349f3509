"""Rows T5 and T17: a training that stops anywhere goes on as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.runs.bundle_run import bundle_command
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.runs.interruption import Interrupted

from .trainings import PROTOCOLS, assert_same

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


def assert_same_training(one, other):
    for part in ("network", "optimizer", "lr_scheduler", "trainer", "evaluator", "random"):
        assert_same(one[part], other[part])


@pytest.fixture(scope="module")
def undisturbed(training, last, protocol, tmp_path_factory):
    """What a training ends with that nothing interrupts."""
    folder = tmp_path_factory.mktemp(protocol)
    training(protocol, folder)[0].run()
    return last(folder)


def interrupted(flow):
    with pytest.raises(Interrupted):
        flow.run()


@pytest.mark.parametrize(("workers", "kills"), [(0, (2, 4, 9)), (2, (5,))])
def test_T5_resumed_training_is_the_undisturbed_one(
    training, last, protocol, workers, kills, undisturbed, tmp_path, capsys
):
    for kill in kills:
        interrupted(training(protocol, tmp_path, kill, num_workers=workers, resume=True)[0])
    training(protocol, tmp_path, num_workers=workers, resume=True)[0].run()
    assert "resuming after epoch" in capsys.readouterr().out
    assert_same_training(last(tmp_path), undisturbed)


def test_T5_after_kill_9_of_the_process(
    training, last, options, protocol, processes, undisturbed, tmp_path
):
    given = options(protocol, tmp_path, num_workers=2, resume=True)
    _, *command = bundle_command(find_bundle(PROTOCOLS[protocol][0]), "train", options=given)
    pid = processes.start(*command)
    while processes.runs(pid) and not list(tmp_path.glob("checkpoints/epoch_*.pt")):
        time.sleep(0.05)
    time.sleep(float(np.random.default_rng().uniform(0, 0.5)))
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGKILL)
    assert "no checkpoint to resume from" in processes.wait().stdout
    training(protocol, tmp_path, num_workers=2, resume=True)[0].run()
    assert_same_training(last(tmp_path), undisturbed)


def test_T5_other_options_are_refused_and_named(training, tmp_path):
    interrupted(training("slices", tmp_path, 4)[0])
    with pytest.raises(RuntimeError) as raised:
        training("slices", tmp_path, resume=True, learning_rate=0.5, val_interval=2)
    assert "another learning_rate (config.yaml" in str(find_error(raised.value))
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(RuntimeError) as raised:
        training("slices", tmp_path, resume=True)
    assert "network_def" in str(find_error(raised.value))


def test_T5_polynomial_schedule_fixes_the_number_of_epochs(training, tmp_path):
    interrupted(training("patches", tmp_path, 4)[0])
    with pytest.raises(RuntimeError) as raised:
        training("patches", tmp_path, resume=True, max_epochs=9)
    assert "another max_epochs" in str(find_error(raised.value))


HOLD = """
import fcntl, sys, time
stream = open(sys.argv[1], "a+")
fcntl.lockf(stream, fcntl.LOCK_EX)
stream.write("process 7 on a machine")
stream.flush()
print("held", flush=True)
time.sleep(600)
"""


def test_T17_second_run_into_one_folder_is_refused(training, tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError) as raised:
            training("slices", tmp_path)
        other.kill()
    found = str(find_error(raised.value))
    assert "another training runs there (process 7 on a machine)" in found
    training("slices", tmp_path)  # the lock went with its process
