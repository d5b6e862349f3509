"""Seconds to evaluate a case, beside MONAI's Dice + HD95 + ASSD, on one core.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py      # about 5 minutes

Cases: the lesions of simulated patients on the 197 x 233 x 189 grid at 1 mm, each with three
predictions. Ours computes all of `case_metrics` (including lesion-wise metrics), MONAI only the
three named. Both get arrays in the required form; they alternate, and the median is used.
Times are processor times (`time.process_time`), as both use one thread, so that other work on the
machine does not count.
Writes benchmarks/results/metrics.json; in a comparison a larger ratio is better for us.
"""

import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
)
from scipy import ndimage

from stroke_nets.evaluation.case import case_metrics
from stroke_nets.synthesis import Design, simulate_patient

SEED, PATIENTS = 0, (1, 4, 5, 6, 9, 10, 13, 17)  # lesions of 2.8 to 76 ml
REPEATS = 5
SPACING = (1.0, 1.0, 1.0)
# torch.quantile rounds the rank among n surface points to float32: an error of n * 6e-8 of the gap
# to the next distance, which SciPy avoids with float64.
RTOL = {"dice": 1e-6, "asd": 1e-6, "hd95": 1e-5}
GOAL_RATIO, LIMIT_S = 6.0, 0.10
OUT = Path(__file__).parent / "results" / "metrics.json"


def predictions(truth: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Typical predictions of a lesion: shifted, too small, and shifted with false positives."""
    moved = np.roll(truth, (2, -1, 1), axis=(0, 1, 2))
    strays = np.zeros_like(truth)
    for corner in rng.integers(40, 140, (6, 3)):
        strays[tuple(slice(c, c + 5) for c in corner)] = True
    return {
        "shifted": moved,
        "eroded": ndimage.binary_erosion(truth, iterations=2),
        "shifted, six false positives": moved | strays,
    }


def monai_figures(prediction: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Dice, HD95 and ASSD of (1, 1, X, Y, Z) tensors."""
    masks = {"y_pred": prediction, "y": truth, "include_background": True}
    return {
        "dice": compute_dice(**masks).item(),
        "hd95": compute_hausdorff_distance(**masks, percentile=95, spacing=SPACING).item(),
        "asd": compute_average_surface_distance(**masks, symmetric=True, spacing=SPACING).item(),
    }


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call in seconds."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Medians of both on one case, after one untimed call of each, which must agree."""
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
    ours, peer = case_metrics(prediction, truth, SPACING), monai_figures(*tensors)
    for name, value in peer.items():
        np.testing.assert_allclose(ours[name], value, rtol=RTOL[name])
    times = [
        (
            seconds(lambda: case_metrics(prediction, truth, SPACING)),
            seconds(lambda: monai_figures(*tensors)),
        )
        for _ in range(REPEATS)
    ]
    mine, theirs = zip(*times, strict=True)
    return {"ours_s": statistics.median(mine), "peer_s": statistics.median(theirs)}


def comparison(ours: float, peer: float, goal: float) -> dict[str, float]:
    """Compare two times."""
    return {
        "ours": round(ours, 5),
        "peer": round(peer, 5),
        "ratio": round(peer / ours, 2),
        "goal": goal,
    }


def cpu() -> str:
    """The processor's name on Linux."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    """Measure every case and write the result."""
    warnings.simplefilter("ignore", FutureWarning)  # MONAI calls itself with a deprecated argument
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    cases = []
    for patient in PATIENTS:
        truth = simulate_patient(SEED, patient, Design(plain=True))[1].astype(bool)
        for name, prediction in predictions(truth, rng).items():
            case = {"patient": patient, "truth_voxels": int(truth.sum()), "prediction": name}
            cases.append(case | measure(prediction, truth))
            print(cases[-1], flush=True)
    mine, theirs = ([case[key] for case in cases] for key in ("ours_s", "peer_s"))
    result = {
        "what": __doc__.splitlines()[0],
        "case_set": f"{len(cases)} cases: patients {PATIENTS} of seed {SEED}, three predictions",
        "comparisons": {
            "seconds per case, mean, MONAI Dice + HD95 + ASSD": comparison(
                statistics.mean(mine), statistics.mean(theirs), GOAL_RATIO
            ),
            "seconds of the case with the smallest ratio": comparison(
                *min(zip(mine, theirs, strict=True), key=lambda pair: pair[1] / pair[0]), GOAL_RATIO
            ),
            "seconds of our slowest case, against the limit": comparison(max(mine), LIMIT_S, 1.0),
        },
        "machine": {"cpu": cpu(), "cores_used": 1, "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "scipy", "connected-components-3d", "monai")}
        | {"torch": torch.__version__},
        "cases": cases,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["comparisons"], indent=1))


if __name__ == "__main__":
    main()
