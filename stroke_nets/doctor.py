"""``stroke-nets doctor``: check whether this machine meets the commands' requirements."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stroke_nets.bundle_folders import bundle_names, bundles_root, with_weights
from stroke_nets.errors import StrokeNetsError
from stroke_nets.inference.method import Method
from stroke_nets.inference.pipeline import find_device
from stroke_nets.inference.weights import choose
from stroke_nets.memory import free_memory
from stroke_nets.text_table import text_table
from stroke_nets.transforms.slice_plane import ATLAS_GRID

PACKAGES = ("torch", "monai", "nibabel", "numpy", "pytorch-ignite", "nilearn", "wasmtime")
LEAST_TORCH = (2, 10)  # CVE-2026-24747
LEAST_MEMORY = 4e9  # bytes: one 256^3 scan and a full-size network, see docs/predict.md
LEAST_DISK = 1e9  # bytes
OPENVINO = "1.5 to 3 times as fast"  # as PyTorch, for the shipped weights: docs/performance.md


@dataclass(frozen=True)
class Condition:
    """One checked item.

    Attributes:
        name: name of the item.
        value: value found.
        problem: whether it prevents something from working.
        fix: what to do, or what it would improve.
    """

    name: str
    value: str
    problem: bool = False
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def examine() -> list[Condition]:
    """Check everything, in the order in which it is needed."""
    return [*versions(), *machine(), *bundles(), *speed()]


def as_text(conditions: Sequence[Condition]) -> str:
    """A table of all checks, and the number of problems."""
    rows = []
    for one in conditions:
        mark = "PROBLEM" if one.problem else "note" if one.fix else "ok"
        rows.append((mark, one.name, one.value, one.fix))
    problems = sum(one.problem for one in conditions)
    return f"{text_table(('', 'what', 'found', 'how to fix'), rows)}\n{problems} problems"


def versions() -> Iterator[Condition]:
    """Python and the packages that every command needs."""
    yield Condition("python", platform.python_version())
    for name in ("stroke-nets", *PACKAGES):
        found = version(name)
        old = name == "torch" and tuple(map(int, torch.__version__.split(".")[:2])) < LEAST_TORCH
        if found is None or old:
            wanted = f">={'.'.join(map(str, LEAST_TORCH))}" if name == "torch" else ""
            fix = f"pip install '{name}{wanted}'"
            yield Condition(name, found or "not installed", True, fix)
        else:
            yield Condition(name, found)


def machine() -> Iterator[Condition]:
    """Device, processor, memory and disk."""
    if torch.cuda.is_available():
        yield Condition("device", f"cuda: {torch.cuda.get_device_name(0)}")
    else:
        yield Condition("device", "cpu", fix="a GPU would be used if PyTorch saw one")
    yield Condition("processor", f"{os.cpu_count()} cores; {' '.join(cpu_features()) or 'unknown'}")
    yield _enough("free memory", free_memory(), LEAST_MEMORY, "close programs, or use a GPU")
    disk = shutil.disk_usage(Path.cwd()).free
    yield _enough("free disk here", disk, LEAST_DISK, "delete something, or write elsewhere")


def cpu_features() -> list[str]:
    """This processor's instructions that speed up networks."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError):  # not Linux
        return [torch.backends.cpu.get_cpu_capability().lower()]
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags]


def bundles() -> Iterator[Condition]:
    """The methods, and those that can be used without training."""
    try:
        yield Condition("bundles", f"{len(bundle_names())} in {bundles_root()}")
        weights = with_weights()
        fix = "restore bundles/*/models, or train and give predict --checkpoint"
        value = ", ".join(weights) or "none"
        yield Condition("published weights", value, not weights, "" if weights else fix)
    except StrokeNetsError as error:
        yield Condition("bundles", str(error), True, "see the line")


def speed() -> Iterator[Condition]:
    """The backend used here, and the time for one scan: a measured call times their number."""
    try:
        method = Method(choose(())[0], find_device("auto"))
        yield _backend(method)
    except StrokeNetsError as error:
        yield Condition("seconds per scan", "not measured", fix=str(error))
        return
    expected = method.expected_seconds(ATLAS_GRID)
    title = f"{method.weights.bundle.name} on {method.device}"
    yield Condition(
        "seconds per scan",
        f"{title}: {expected:.0f} s, and the time to register it",
    )


def _backend(method: Method) -> Condition:
    """The backend that predict uses for the method, and OpenVINO where it would be used instead."""
    fix = ""
    if method.device.type == "cpu" and method.run_by[0] == "auto" and not version("openvino"):
        fix = (
            f"predict would run it by OpenVINO, {OPENVINO}, if that were installed: "
            "pip install openvino"
        )
    return Condition("backend", method.backend, fix=fix)


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _enough(name: str, found: float, least: float, fix: str) -> Condition:
    value = f"{found / 1e9:.1f} GB"
    if found >= least:
        return Condition(name, value)
    return Condition(name, value, True, f"{least / 1e9:.0f} GB are needed; {fix}")
