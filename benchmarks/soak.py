"""Soak test: a training killed fifty times must end with the weights of an uninterrupted one.

    python benchmarks/soak.py [--kills 50] [--out benchmarks/results/soak.json]

Two tiny bundles get half of the kills each: `d_unet` (stacks of slices, two loader workers) and
`mscsa_default` (patches). Every training is a separate process, forked after the imports, that
begins or resumes as with ``--resume true`` and gets SIGKILL at a random time. After each kill,
every checkpoint file must be intact, and no saved epoch may be lost.
"""

import argparse
import json
import logging
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import ignite
import monai
import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow

from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.training import checkpoint_file

BUNDLES = Path(__file__).parents[1] / "bundles"
TINY: dict[str, dict[str, Any]] = {
    "d_unet": {"widths": [4, 8, 8, 8, 16], "size": 32, "batch_size": 8, "num_workers": 2},
    "mscsa_default": {"widths": [4, 8, 8], "patch_size": [16, 16, 16], "supervision": [2, 1]}
    | {"heads": 2, "train_batches": 4, "val_batches": 1, "num_workers": 0},
}
EPOCHS = 20
PARTS = ("network", "optimizer", "lr_scheduler", "trainer", "evaluator")


def write_cases(root: Path) -> None:
    """Write four heads of noise with a bright cube each, and their manifest with two folds."""
    rng = np.random.default_rng(0)
    for subject in range(4):
        image = rng.normal(100, 10, (32, 32, 16)).astype(np.float32)
        lesion = np.zeros(image.shape, np.uint8)
        lesion[8 + subject : 16 + subject, 10:20, 5:10] = 1
        for name, voxels in (("T1w", image + 50 * lesion), ("mask", lesion)):
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), root / f"sub-{subject}_{name}.nii.gz")
    files = {"image": "*_T1w.nii.gz", "label": "_mask.nii.gz"}
    from_folder(root, **files, out=root / "manifest.json", folds=2)


def train(bundle: str, data: Path, folder: Path) -> None:
    """Run silently in this process what ``--resume true`` runs."""
    sys.stdout = sys.stderr = open(os.devnull, "w")
    warnings.simplefilter("ignore")
    logging.disable()
    where = {"dataset_dir": str(data), "cache_dir": str(data / "cache"), "output_dir": str(folder)}
    flow = ConfigWorkflow(
        str(BUNDLES / bundle / "configs" / "train.yaml"),
        logging_file=False,
        **where,
        **TINY[bundle],
        max_epochs=EPOCHS,
        val_interval=1,
        resume=True,
    )
    flow.initialize()
    flow.run()


def run(bundle: str, data: Path, folder: Path, seconds: float | None) -> bool:
    """Train in a separate process and kill it after ``seconds``; return whether it was killed."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=train, args=(bundle, data, folder))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    process.join()
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"{bundle}: a training ended with {process.exitcode}")
    return process.exitcode == -9


def newest_epoch(folder: Path) -> int:
    """The newest saved epoch, after reading every checkpoint; a damaged one raises."""
    saved = [checkpoint_file.read(path) for path in checkpoint_file.newest_first(folder)]
    for name in (checkpoint_file.LAST, checkpoint_file.BEST):
        if (folder / name).is_symlink():
            checkpoint_file.read(folder / name)
    return max((state["trainer"]["epoch"] for state in saved), default=0)


def same(one: Any, other: Any) -> bool:
    """Whether two states are bitwise equal."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def soak(bundle: str, kills: int, work: Path, moments: random.Random) -> dict[str, Any]:
    """Kill trainings of one bundle ``kills`` times; each must end like an uninterrupted one."""
    data = work / bundle
    data.mkdir()
    write_cases(data)
    run(bundle, data, data / "undisturbed", None)
    longest = 10.0  # seconds, reduced when a training ends before it is killed
    whole = checkpoint_file.read(data / "undisturbed" / "checkpoints" / "last.pt")
    found = {"kills": 0, "kills_inside_a_write": 0, "trainings": 0, "files_lost": 0}
    identical = True
    while found["kills"] < kills:
        folder, newest = data / f"killed{found['trainings']}", 0
        while found["kills"] < kills and run(bundle, data, folder, moments.uniform(0, longest)):
            found["kills"] += 1
            found["kills_inside_a_write"] += bool(list((folder / "checkpoints").glob(".*.tmp")))
            before, newest = newest, newest_epoch(folder / "checkpoints")
            found["files_lost"] += newest < before
        run(bundle, data, folder, None)
        longest *= 0.7
        end = checkpoint_file.read(folder / "checkpoints" / "last.pt")
        identical &= all(same(end[part], whole[part]) for part in PARTS)
        found["trainings"] += 1
        print(bundle, found, "identical" if identical else "DIFFERENT", flush=True)
    return found | {"identical": identical}


def main() -> int:
    """Kill, compare and write; return 0 if nothing was lost and all results are identical."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/soak.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    moments, start = random.Random(options.seed), time.perf_counter()
    shares = dict(zip(TINY, (options.kills - options.kills // 2, options.kills // 2), strict=True))
    with tempfile.TemporaryDirectory() as work:
        found = {b: soak(b, kills, Path(work), moments) for b, kills in shares.items()}
    versions = {module.__name__: module.__version__ for module in (torch, monai, ignite)}
    results = {"bundles": found, "epochs_each": EPOCHS, "seed": options.seed}
    results |= {"minutes": round((time.perf_counter() - start) / 60, 1), "versions": versions}
    results |= {"python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {options.out}")
    return 0 if all(f["identical"] and not f["files_lost"] for f in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
