"""Time of `stroke-nets evaluate` for 655 cases (as in ATLAS v2.0) with two processes.

    python benchmarks/evaluate.py

Simulated lesions on the 197 x 233 x 189 grid, with predictions shifted by two voxels; there are a
few distinct pairs under 655 names, each read, decompressed and compared separately. On a busy
machine, the processor seconds divided by two cores estimate the time on an idle one.
Writes results/evaluate.json.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from record import comparison, write
from scipy.ndimage import gaussian_filter

from stroke_nets.evaluation.evaluate import evaluate_folder

SHAPE, LIMIT_S, WORKERS = (197, 233, 189), 60.0, 2


def lesion(rng: np.random.Generator) -> np.ndarray:
    """A ragged blob of 1 to 60 ml inside the brain's box."""
    side = int(rng.integers(15, 60))
    noise = gaussian_filter(rng.standard_normal((side,) * 3), side / 8)
    mask = np.zeros(SHAPE, np.uint8)
    start = [int(rng.integers(30, n - 30 - side)) for n in SHAPE]
    box = tuple(slice(s, s + side) for s in start)
    mask[box] = noise > np.quantile(noise, 0.7)
    return mask


def processor_seconds() -> float:
    """Processor seconds of this process and its finished children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    """Write the masks, evaluate them, and write the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=655)
    parser.add_argument("--distinct", type=int, default=16)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("truth", "predictions")]
        for folder in folders:
            folder.mkdir()
        for index in range(options.cases):
            for folder, shift in zip(folders, (0, 2), strict=True):
                file = folder / f"case{index:03}.nii.gz"
                if index >= options.distinct:
                    os.link(folder / f"case{index % options.distinct:03}.nii.gz", file)
                elif shift == 0:
                    mask = lesion(rng)
                    nib.save(nib.Nifti1Image(mask, np.eye(4)), file)
                else:
                    nib.save(nib.Nifti1Image(np.roll(mask, shift, axis=0), np.eye(4)), file)
        worked = processor_seconds()
        began = time.perf_counter()
        evaluate_folder(folders[1], folders[0], Path(scratch) / "out", workers=WORKERS)
        clock = time.perf_counter() - began
        work = processor_seconds() - worked
    whole = 655 / options.cases
    comparisons = {
        "evaluate, 655 cases, limit, clock_s": comparison(clock * whole, LIMIT_S, 1.0),
        "evaluate, 655 cases, limit, processor seconds over two cores": comparison(
            work * whole / WORKERS, LIMIT_S, 1.0
        ),
    }
    measured = {"cases": options.cases, "clock_s": clock, "cpu_s": work}
    write("evaluate", comparisons, measured=measured, workers=WORKERS)


if __name__ == "__main__":
    main()
