"""The content of every benchmark's JSON: machine, load, versions, command, and comparisons.

A comparison is an object with ``ours``, ``peer``, ``ratio`` and ``goal``; a larger ratio is better
for us, and the goal is reached if ratio >= goal. Otherwise ``note`` says what was tried. A figure
that is only told has the goal None.
"""

import json
import os
import platform
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "monai", "openvino", "nnunetv2", "batchgeneratorsv2", "scipy")


def comparison(
    ours: float,
    peer: float,
    goal: float | None,
    *,
    unit: str = "s",
    less: bool = True,
    note: str = "",
) -> dict[str, Any]:
    """Compare ours with a peer or a limit, in the same unit.

    Args:
        ours: our value.
        peer: the peer's value, or the limit.
        goal: the target ratio; None if there is none.
        unit: unit of both values.
        less: whether less is better: seconds, but not patches per second.
        note: what was tried if the goal is not reached, or how the measurement differs.
    """
    ratio = peer / ours if less else ours / peer
    row = {"ours": _short(ours), "peer": _short(peer), "ratio": _short(ratio), "goal": goal}
    row |= {"unit": unit, "reached": None if goal is None else ratio >= goal}
    return row | ({"note": note} if note else {})


def _short(figure: float) -> float:
    return float(f"{figure:.4g}")


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds of one call, and processor seconds of all its threads."""
    clock, work = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - work


def in_turn(
    calls: dict[str, Callable[[], tuple[float, float]]], repeats: int
) -> dict[str, dict[str, Any]]:
    """Medians of calls that return (clock, processor) seconds and alternate in each round.

    Other work on the machine then slows them equally; processor seconds do not include it.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(call())
            print(name, *(f"{t:.2f} s" for t in times[name][-1]), flush=True)
    found = {}
    for name, pairs in times.items():
        clock, work = zip(*pairs, strict=True)
        found[name] = {"clock_s": statistics.median(clock), "cpu_s": statistics.median(work)}
    return found


def peak_mib(whose: int = resource.RUSAGE_SELF) -> float:
    """The peak memory of this process, or of the largest of its finished children, in MiB."""
    return resource.getrusage(whose).ru_maxrss / 1024  # in KiB on Linux


def cpu() -> str:
    """The processor's name on Linux."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of the installed packages."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(name: str, comparisons: dict[str, Any], **more: Any) -> Path:
    """Write ``results/<name>.json`` and print the comparisons."""
    import torch

    machine = {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16": bool(torch.cpu.get_capabilities().get("amx_bf16")),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    result = {"what": name, "command": command, "comparisons": comparisons, "machine": machine}
    result |= {"versions": versions()} | more
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, file)
    print(json.dumps(comparisons, indent=1))
    return file
