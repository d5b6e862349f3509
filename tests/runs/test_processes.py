"""Row S4: worker processes and what ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stroke_nets.runs.interruption import Interrupted
from stroke_nets.runs.processes import in_processes

PARENT = """
import os, sys
from stroke_nets.runs.processes import in_processes
from tests.runs.test_processes import own_id
if __name__ == "__main__":
    for pid in in_processes(own_id, [0, 0], 1):
        print(pid, flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))
"""


def own_id(number):
    return os.getpid()


def stop(number):
    os.kill(os.getpid(), number)


def ends(pid):
    """Wait until a process has ended, half a minute at most."""
    for _ in range(300):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # it waits for init to take its exit code
            return True
        time.sleep(0.1)
    return False


def test_results_come_in_order():
    assert list(in_processes(abs, [-3, 2, -1], 2)) == [3, 2, 1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_S4_no_worker_outlives_its_parent(number, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, script, str(int(number))]
    where = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=where, check=False)
    assert done.returncode == -number
    assert ends(int(done.stdout.split()[0]))


def test_S4_stopped_workers_are_no_want_of_memory():
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        list(in_processes(stop, [signal.SIGTERM], 1))


def test_S4_a_killed_worker_may_be_want_of_memory():
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        list(in_processes(stop, [signal.SIGKILL], 1))
