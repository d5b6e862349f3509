"""`stroke-nets predict` from the command to mask and report, beside an earlier build; many scans.

    git worktree add old 83b0283     # with an environment of its own: old-venv
    python benchmarks/predict_scan.py one SCAN --old old --old-python old-venv/bin/python
    python benchmarks/predict_scan.py many SCAN --copies 40

Every command is a process of its own on one thread; rounds in turn. Processor seconds are those of
the command and of all that it starts; peak memory is the largest process's. "Cold" is the first run
on a machine, which compiles the network; later ones find it in the user's cache. The earlier build
runs by its own defaults. Installed megabytes are those of the packages that each build's
``dependencies`` name and need, without PyTorch, MONAI and what these need.
Many scans: one scan, scaled otherwise each time so that each is registered anew, in one command;
beside it that many commands with one scan each, from the median of some.
Writes results/predict_one.json or results/predict_many.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import nibabel as nib
from record import comparison, write

HERE = Path(__file__).parents[1]
GOALS = {"cpu_s": 6.0, "peak_mib": 2.0}
LIMIT_MB, THROUGHPUT, FLAT = 100.0, 1.5, 0.95
SIZES = """
import json, re, sys, tomllib
from importlib.metadata import PackageNotFoundError, distribution

def closure(names):
    found, todo = {}, list(names)
    while todo:
        name = re.split(r"[^A-Za-z0-9._-]", todo.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            there = distribution(name)
        except PackageNotFoundError:
            continue
        files = there.files or []
        found[name] = sum(f.locate().stat().st_size for f in files if f.locate().is_file())
        todo += [one for one in there.requires or [] if "extra ==" not in one]
    return found

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
base = closure(["torch", "monai"])
print(json.dumps({n: s for n, s in closure(project["dependencies"]).items() if n not in base}))
"""


class Build:
    """A build of this package, run as a user runs it.

    Args:
        folder: its clone.
        python: an interpreter that has what it needs.
        cache: the user's cache for it.
    """

    def __init__(self, folder: Path, python: str, cache: Path) -> None:
        """Remember where it is."""
        self.folder, self.python = folder.absolute(), str(Path(python).absolute())
        self.environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(cache),
            "MPLCONFIGDIR": matplotlib.get_cachedir(),  # its fonts are listed already
        }

    def predict(self, given: Path) -> dict[str, float]:
        """Seconds by the clock and of the processor, and the peak memory, of one command."""
        with tempfile.TemporaryDirectory() as out:
            what = ["predict", str(given.absolute()), f"{out}/p"]
            command = [self.python, "-m", "stroke_nets", *what]
            began = time.perf_counter()
            process = subprocess.Popen(
                [*command, "--quiet"], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE
            )
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{command}: failed with {os.waitstatus_to_exitcode(status)}")
            found = {"clock_s": time.perf_counter() - began}
        found["cpu_s"] = used.ru_utime + used.ru_stime
        found["peak_mib"] = used.ru_maxrss / 1024
        print(self.folder.name, given.name, {k: round(v, 1) for k, v in found.items()}, flush=True)
        return found

    def megabytes(self) -> dict[str, float]:
        """Of the packages that it needs beyond PyTorch and MONAI, the largest first."""
        command = [self.python, "-c", SIZES, str(self.folder / "pyproject.toml")]
        sizes = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        ordered = sorted(sizes.items(), key=lambda item: -item[1])
        return {name: round(size / 1e6, 1) for name, size in ordered}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def one_scan(options: argparse.Namespace, ours: Build, old: Build) -> dict[str, Any]:
    """One scan, ours and the earlier build in turn."""
    first = ours.predict(options.scan)
    rounds = [
        (ours.predict(options.scan), old.predict(options.scan)) for _ in range(options.repeats)
    ]
    us, them = (medians(list(runs)) for runs in zip(*rounds, strict=True))
    return {"ours": us, "ours, first run": first, "old": them, "rounds": rounds}


def many_scans(options: argparse.Namespace, ours: Build) -> dict[str, Any]:
    """Variants of one scan by one command, a quarter of them, and one at a time."""
    ours.predict(options.scan)  # compiles the network
    singly = medians([ours.predict(options.scan) for _ in range(options.repeats)])
    found, scan = {"one": singly}, nib.load(options.scan)
    for name, count in (("quarter", options.copies // 4), ("all", options.copies)):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                other = nib.Nifti1Image(scan.get_fdata() * (1 + number / 1000), scan.affine)
                nib.save(other, Path(folder) / f"sub-{number:02}_T1w.nii.gz")
            found[name] = ours.predict(Path(folder)) | {"scans": count}
    return found


def rows_of_one(one: dict[str, Any], sizes: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Comparisons with the earlier build."""
    rows, old = {}, "the build at 83b0283"
    for key, what, unit in (("cpu_s", "processor seconds", "s"), ("peak_mib", "memory", "MiB")):
        for name, when in (("ours", ""), ("ours, first run", ", first run on a machine")):
            rows[f"one scan: {what}{when}, {old}"] = comparison(
                one[name][key], one["old"][key], GOALS[key], unit=unit
            )
    total = {name: sum(found.values()) for name, found in sizes.items()}
    largest = ", ".join(f"{name} {size:.0f}" for name, size in list(sizes["ours"].items())[:6])
    what = "installed beyond PyTorch and MONAI"
    rows[f"{what}, {old}"] = comparison(total["ours"], total["old"], 1.0, unit="MB")
    rows[f"{what}, limit"] = comparison(
        total["ours"], LIMIT_MB, 1.0, unit="MB", note=f"the largest packages, in MB: {largest}"
    )
    return rows


def rows_of_many(many: dict[str, Any]) -> dict[str, Any]:
    """Comparisons of one command with one at a time, and of memory with a shorter list."""
    count, work = many["all"]["scans"], many["all"]["cpu_s"]
    return {
        f"{count} scans in one command, one at a time: scans a processor hour": comparison(
            3600 * count / work, 3600 / many["one"]["cpu_s"], THROUGHPUT, unit="", less=False
        ),
        f"memory of {count} scans, of {many['quarter']['scans']} scans": comparison(
            many["all"]["peak_mib"], many["quarter"]["peak_mib"], FLAT, unit="MiB"
        ),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["one", "many"])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--old", type=Path, help="clone of the earlier build")
    parser.add_argument("--old-python", help="interpreter of its environment")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        ours = Build(HERE, sys.executable, Path(cache) / "ours")
        if options.part == "many":
            many = many_scans(options, ours)
            write("predict_many", rows_of_many(many), measured=many)
            return
        old = Build(options.old, options.old_python, Path(cache) / "old")
        sizes = {"ours": ours.megabytes(), "old": old.megabytes()}
        one = one_scan(options, ours, old)
        write("predict_one", rows_of_one(one, sizes), measured=one | {"megabytes": sizes})


if __name__ == "__main__":
    main()
