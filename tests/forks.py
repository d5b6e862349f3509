"""A program that runs commands in processes forked from itself, with PyTorch and MONAI imported.

A command is a `__main__` with its own arguments, environment, folder and output, and it ends as if
the interpreter had been started for it: exit hooks run, and the exit code is its own. Shared are
the seconds that the imports take, and that networks run by PyTorch in float32. The fixture
`process` of `conftest.py` starts the program and writes one JSON object per line; for each it reads
the process id and then the exit code.
"""

import json
import os
import runpy
import sys
from typing import Any

import torch

from stroke_nets.inference import backend

PRELOADED = (
    "matplotlib.pyplot",
    "monai.bundle",
    "monai.engines",
    "monai.handlers",
    "pandas",
    "stroke_nets.datasets.manifest",
    "torch.utils.tensorboard",
)


def main() -> None:
    """Fork for each line; a child leaves the loop and becomes its command."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(**json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(command: list[str], environment: dict[str, str], folder: str, **streams: str) -> Any:
    """Run ``-m MODULE ARGUMENTS`` or ``-c CODE ARGUMENTS`` in this process."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    how, what, *arguments = command
    sys.argv = [what if how == "-m" else how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    for name in PRELOADED:
        __import__(name)
    torch.cpu.get_capabilities = dict  # as conftest.py has it
    backend.fastest = lambda device: "torch"
    main()
