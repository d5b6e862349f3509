"""Rows T3, T4, T10 and T11: how a run ends that something outside of it stops."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from stroke_nets.errors import DataError, UsageError
from stroke_nets.runs.exit_codes import find_error

SIGNALLED = """
import os, signal, sys
from stroke_nets.runs.exit_codes import one_line_errors
from stroke_nets.runs.interruption import stop_on_signals
one_line_errors()
stop_on_signals(lambda: "last.pt (epoch 7)")
os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 75, id="T3_SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="T4_Ctrl_C"),
    ],
)
def test_T3_T4_exit_codes(number, code):
    command = [sys.executable, "-c", SIGNALLED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == f"error: stopped by {number.name}: last.pt (epoch 7)\n"


class Faulty(Dataset):
    """One item, whose reading goes wrong as ``fault`` says."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.fault()


def test_T10_killed_worker_says_what_to_change():
    def fault():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError) as raised:
        next(iter(DataLoader(Faulty(fault), num_workers=1)))
    found = find_error(raised.value)
    assert isinstance(found, UsageError)
    assert "memory" in str(found)
    assert "--num_workers 0" in str(found)


def test_T10_out_of_memory_says_what_to_change():
    found = find_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"))
    assert "out of GPU memory; close other programs" in str(found)
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert "out of memory (RAM); close other programs" in str(find_error(raised.value))


@pytest.mark.parametrize("wrapped", [False, True])
def test_T11_bad_file_inside_a_worker_is_named_in_one_line(wrapped):
    def fault():
        try:
            raise DataError("sub-1_T1w.nii.gz: cut short; copy it again")
        except DataError as error:
            if not wrapped:
                raise
            raise RuntimeError("applying transform") from error

    with pytest.raises(Exception, match="DataLoader worker") as raised:
        next(iter(DataLoader(Faulty(fault), num_workers=1)))
    error = raised.value
    found = find_error(RuntimeError(str(error)) if wrapped else error)
    assert str(found) == "sub-1_T1w.nii.gz: cut short; copy it again"
    assert found.exit_code == 3
