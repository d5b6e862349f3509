"""Self-training as MSCSA's paper has it: the best of the first three approaches labels.

"The best model of the first three" (Shang et al., arXiv:2501.15423): of Default, DTK10 and Res
U-Net with MSCSA, the one with the highest mean Dice over the held-out cases of all folds (the
measure is ours: the paper names none). The mean of its models of all folds labels the unlabelled
scans once, and all folds train on these labels. Its authors' code averages the models of all three
instead. Both let each fold's held-out cases shape the labels that the fold trains on, which the
grid's rule ``leak-free`` does not.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stroke_nets.errors import DataError
from stroke_nets.files import write_whole
from stroke_nets.runs.results import read_run

FOLDER = "best_scheme"  # of the labels, below the data root's pseudo_labels


def choose(schemes: Sequence[str], runs: Path, out: Path) -> str:
    """Write which scheme has the highest mean Dice, with every scheme's; the first of equal ones.

    Args:
        schemes: ``<bundle>/<overlay>`` each, all folds evaluated.
        runs: the folder of all runs.
        out: the JSON file.

    Returns:
        The scheme.

    Raises:
        DataError: a scheme has not been evaluated, or not in the folds of the others.
    """
    read = {scheme: read_run(runs, scheme) for scheme in schemes}
    folds = {scheme: list(run.folders) if run else [] for scheme, run in read.items()}
    if not all(folds.values()) or len({tuple(found) for found in folds.values()}) > 1:
        raise DataError(f"{runs}: evaluated folds are {folds}; evaluate all schemes in the same")
    dice = {s: float(np.mean([c["dice"] for c in run.cases])) for s, run in read.items() if run}
    best = max(dice, key=lambda scheme: dice[scheme])
    content = {"best": best, "folds": folds[best], "mean_dice": dice}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    return best


def label(best: Path, runs: Path, dataset_dir: Path, device: str = "cpu") -> Path:
    """Label the unlabelled scans by the chosen scheme's models of all folds.

    Args:
        best: what `choose` wrote.
        runs: the folder of all runs.
        dataset_dir: the data root.
        device: where the networks run.

    Returns:
        The manifest of labelled and pseudo-labelled scans.
    """
    from stroke_nets.inference.pseudo_label import pseudo_label  # here: it imports MONAI

    chosen = json.loads(best.read_text())
    folders = [runs / chosen["best"] / f"fold{fold}" for fold in chosen["folds"]]
    return pseudo_label(dataset_dir, folders, fold=None, folder=FOLDER, device=device)
