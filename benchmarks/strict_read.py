"""What strictness costs: the project's reader beside a plain nibabel load.

    python benchmarks/strict_read.py [--out benchmarks/results/strict_read.json]

Files are the size of an ATLAS scan (197 x 233 x 189): 12-bit integers, and float32 with noise,
which compresses worst. The two readers take turns, and each round's ratio is kept, so that a busy
machine slows both alike.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from stroke_nets.data.check import check
from stroke_nets.data.reader import open_scan

SHAPE = (197, 233, 189)
ROUNDS = 25


def write_scans(folder: Path) -> list[Path]:
    """Two scans with a head of noise in air, as ATLAS's fill about a third of their grid."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    head = sum(a**2 for a in axes) < 0.75
    values = np.where(head, rng.normal(500, 100, SHAPE).clip(1), 0)
    paths = []
    for dtype in (np.int16, np.float32):
        for ending in (".nii.gz", ".nii"):
            paths.append(folder / f"{np.dtype(dtype).name}{ending}")
            nib.save(nib.Nifti1Image(values.astype(dtype), np.eye(4)), paths[-1])
    return paths


def plain(path: Path) -> np.ndarray:
    """The voxels as NiBabel reads them, into memory."""
    return np.asanyarray(nib.load(path, mmap=False).dataobj)


def strict(path: Path) -> np.ndarray:
    """The voxels as the project reads them."""
    return np.asanyarray(open_scan(path).dataobj)


def seconds(read: Callable, path: Path) -> float:
    """How long one read takes."""
    start = time.perf_counter()
    read(path)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/strict_read.json"))
    out = parser.parse_args().out
    results = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    results |= {"load": os.getloadavg()[0], "rounds": ROUNDS, "nibabel": nib.__version__}
    with tempfile.TemporaryDirectory() as folder:
        for path in write_scans(Path(folder)):
            np.testing.assert_array_equal(plain(path), strict(path))  # and both are warm
            pairs = [(seconds(plain, path), seconds(strict, path)) for _ in range(ROUNDS)]
            results[path.name] = {
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "plain_s": round(min(p for p, _ in pairs), 4),
                "strict_s": round(min(s for _, s in pairs), 4),
                "median_ratio": round(statistics.median(s / p for p, s in pairs), 3),
                "check_s": round(min(seconds(check, path) for _ in range(5)), 4),
            }
            print(path.name, results[path.name])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
