"""The cost of strictness: the project's reader against plain nibabel.

    python benchmarks/strict_read.py [--out benchmarks/results/strict_read.json]

Files have the size of an ATLAS scan (197 x 233 x 189): 12-bit integers, and float32 with noise,
which compresses worst. The readers alternate, and the ratio of each round is used, so that a busy
machine slows both equally.
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

from stroke_nets.scans.check import check
from stroke_nets.scans.reader import open_scan

SHAPE = (197, 233, 189)
ROUNDS = 25
PAIRS = 100


def write_scans(folder: Path) -> list[Path]:
    """Write two scans with a head of noise in air that fills a third of the grid, as in ATLAS."""
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
    """The voxels read into memory by NiBabel."""
    return np.asanyarray(nib.load(path, mmap=False).dataobj)


def strict(path: Path) -> np.ndarray:
    """The voxels read by the project's reader."""
    return np.asanyarray(open_scan(path).dataobj)


def seconds(read: Callable, path: Path) -> float:
    """Time of one read in seconds."""
    start = time.perf_counter()
    read(path)
    return time.perf_counter() - start


def check_tree(folder: Path, workers: int) -> dict[str, float]:
    """Time of checking a BIDS tree, whose scans and masks are links to two files."""
    root = folder / f"tree{workers}"
    scan, mask = folder / "int16.nii.gz", folder / "lesion.nii.gz"
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[90:110, 100:130, 80:95] = 1
    nib.save(nib.Nifti1Image(lesion, np.eye(4)), mask)
    for subject in (f"sub-{i:03}" for i in range(PAIRS)):
        anat = root / subject / "anat"
        anat.mkdir(parents=True)
        os.link(scan, anat / f"{subject}_T1w.nii.gz")
        os.link(mask, anat / f"{subject}_label-lesion_mask.nii.gz")
    start, cpu = time.perf_counter(), time.process_time()
    rows = {finding.row for finding in check(root, workers=workers)}
    if rows != {"D3"}:  # identical files under many subjects
        raise RuntimeError(f"the tree should be found fit but for its copies: {rows}")
    taken = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    return {"scans": PAIRS} | {name: round(value, 2) for name, value in taken.items()}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/strict_read.json"))
    out = parser.parse_args().out
    results = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    results |= {"load": os.getloadavg()[0], "rounds": ROUNDS, "nibabel": nib.__version__}
    with tempfile.TemporaryDirectory() as folder:
        for path in write_scans(Path(folder)):
            np.testing.assert_array_equal(plain(path), strict(path))  # also warms the cache
            pairs = [(seconds(plain, path), seconds(strict, path)) for _ in range(ROUNDS)]
            results[path.name] = {
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "plain_s": round(min(p for p, _ in pairs), 4),
                "strict_s": round(min(s for _, s in pairs), 4),
                "median_ratio": round(statistics.median(s / p for p, s in pairs), 3),
                "check_s": round(min(seconds(check, path) for _ in range(5)), 4),
            }
            print(path.name, results[path.name])
        results["check_of_a_tree"] = {f"{n}_workers": check_tree(Path(folder), n) for n in (1, 2)}
        print(results["check_of_a_tree"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
