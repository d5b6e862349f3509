"""Briefly train and evaluate narrow versions of all eleven methods on simulated patients.

    python examples/all_methods.py data/methods

It shows that every row of the AGMR-Net paper's Table 3 runs, in the order of that table; after so
little training the results say nothing about the methods. Two methods run in parallel.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from stroke_nets.runs.bundle_run import Step, bundle_command

BUNDLES = Path(__file__).parents[1] / "bundles"
METHODS = (
    "unet_3d",
    "unet",
    "segnet",
    "pspnet",
    "deeplab_v3",
    "attention_unet",
    "unet_plus_plus",
    "d_unet",
    "x_net",
    "clci_net",
    "agmr_net",
)
BRIEF = {"max_epochs": 2, "sampler#num_samples": 80, "overwrite": True}
METRICS = {"dice": "DSC", "recall": "Recall", "precision": "Precision", "hd95": "95HD (mm)"}


def run(method: str, data: str) -> dict:
    """Train, predict and evaluate one method; return its summary."""
    folder = Path("runs") / method / "brief" / "fold0"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log:
        for step in get_args(Step):
            options = {"dataset_dir": data, "overlay": "brief", "output_dir": folder}
            options |= {"train": BRIEF, "infer": {"overwrite": True}}.get(step, {})
            command = bundle_command(BUNDLES / method, step, ["demo"], options)
            one_core = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=log, stderr=log, env=one_core, check=False)
            if done.returncode:
                sys.exit(f"error: {method}: {step} failed; see {folder / 'log.txt'}")
    print(f"{method}: done", flush=True)
    return json.loads((folder / "summary.json").read_text())


def row(method: str, summary: dict) -> str:
    """One row of the table: the method, its metrics (mean over cases) and the number of cases."""
    name = json.loads((BUNDLES / method / "configs" / "metadata.json").read_text())["name"]
    means = [summary["metrics"][metric]["mean"] for metric in METRICS]
    cells = ["n/a" if mean is None else f"{mean:.3f}" for mean in means]
    return f"{name:<16}" + "".join(f"{cell:>11}" for cell in cells) + f"{summary['n_cases']:>7}"


def main(data: str) -> None:
    """Simulate six patients, run every method on four and evaluate it on two."""
    start = time.monotonic()
    tool = str(Path(sys.executable).with_name("stroke-nets"))
    command = [tool, "simulate", data, "--plain", "--subjects", "6", "--folds", "3"]
    subprocess.run(command, check=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        summaries = list(pool.map(lambda method: run(method, data), METHODS))
    print(f"{'Method':<16}" + "".join(f"{name:>11}" for name in METRICS.values()) + f"{'Cases':>7}")
    for method, summary in zip(METHODS, summaries, strict=True):
        print(row(method, summary))
    print(f"simulated patients, two brief epochs: not accuracy; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
