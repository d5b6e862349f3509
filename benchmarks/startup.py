"""Startup time of the command: `--help`, and `predict` up to its first tile.

    python benchmarks/startup.py

On a busy machine, use the processor seconds, as startup uses one core.
Writes results/startup.json.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from record import comparison, write

REPEATS, LIMIT_HELP_S, LIMIT_TILE_S = 5, 0.5, 3.0
NOTE = (
    "importing PyTorch and then MONAI, which loads all of its own modules at once, takes most of "
    "it (python -X importtime). Tried and taken: hiding from MONAI what prediction does not use, "
    "Ignite among it, and no garbage collection meanwhile (monai_import.py)"
)
HELP = [sys.executable, "-m", "stroke_nets", "--help"]
TILE = """
from stroke_nets.monai_import import import_monai
import_monai()
import os
import torch
from stroke_nets.inference.backend import compiled
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.networks.nnunet import PlainUNet
network = PlainUNet(bias=True)
run = compiled(network, (1, 1, 128, 128, 128), "torch", precision="float32")
volume = torch.rand(1, 1, 189, 233, 197)
def first(tile):
    os._exit(0)  # what the process would tidy up is not waited for
PatchInferer((128, 128, 128), flips=False)(volume, first)
"""


def started(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    clock = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, work


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    commands = {
        "stroke-nets --help": (HELP, LIMIT_HELP_S),
        "imports, network and volume up to the first tile": (
            [sys.executable, "-c", TILE],
            LIMIT_TILE_S,
        ),
    }
    comparisons, measured = {}, {}
    for name, (command, limit) in commands.items():
        started(command)  # warms the file cache
        clocks, works = zip(*(started(command) for _ in range(options.repeats)), strict=True)
        measured[name] = {"clock_s": clocks, "cpu_s": works}
        for kind, seconds in measured[name].items():
            what = f"{name}, limit, {kind}"
            comparisons[what] = comparison(statistics.median(seconds), limit, 1.0, note=NOTE)
    write("startup", comparisons, measured=measured)


if __name__ == "__main__":
    main()
