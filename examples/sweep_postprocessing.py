"""Choose the post-processing of MSCSA's code on the held-out cases of a training.

    python examples/sweep_postprocessing.py mscsa_default CHECKPOINT DATA OUT

Lesions of at most N voxels are removed if their highest probability is below p. The mean Dice and
lesion F1 of the held-out cases for each pair of N and p are written to OUT/sweep.csv; the pair with
the best lesion F1 (then Dice) is printed as an option of ``stroke-nets infer``. Evaluate that
choice on other cases.
"""

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from stroke_nets.datasets.manifest import datalist
from stroke_nets.evaluation.case import case_metrics
from stroke_nets.inference.method import Method
from stroke_nets.inference.weights import choose
from stroke_nets.scans.reader import Scan, open_scan
from stroke_nets.transforms.lesion_mask import LesionMaskd

VOXELS = (0, 50, 100, 250, 500, 1000)  # code: 1000 at most
HIGHEST = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
Case = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]


def sweep(cases: Iterable[Case]) -> pd.DataFrame:
    """Mean Dice and lesion F1 of each pair, the best first.

    Args:
        cases: probability and truth, X x Y x Z, and the affine in mm.
    """
    pairs = [(0, 0.0), *itertools.product(VOXELS[1:], HIGHEST)]
    rows = []
    for probability, truth, affine in cases:
        pred = MetaTensor(torch.from_numpy(probability[None]), affine=torch.as_tensor(affine))
        spacing = nib.affines.voxel_sizes(affine)
        for voxels, below in pairs:
            to_mask = LesionMaskd("pred", doubtful_voxels=voxels, doubtful_below=below)
            mask = to_mask({"pred": pred})["pred"][0].numpy() > 0
            figures = case_metrics(mask, truth, spacing)
            rows.append((voxels, below, figures["dice"], figures["lesion_f1"]))
    table = pd.DataFrame(rows, columns=["voxels", "below", "dice", "lesion_f1"])
    means = table.groupby(["voxels", "below"], sort=False).mean().reset_index()
    return means.sort_values(["lesion_f1", "dice"], ascending=False, kind="stable")


def held_out(bundle: str, checkpoint: Path, data: Path, fold: int) -> Iterable[Case]:
    """A checkpoint's predictions for the held-out cases of its fold."""
    (weights,) = choose([bundle], [checkpoint])
    method = Method(weights, torch.device("cpu"), register=False)
    for case in datalist(str(data), "heldout", fold=fold):
        scan = Scan(Path(case["image"]))
        truth = np.asanyarray(open_scan(Path(case["label"])).dataobj) > 0
        yield method.find(scan).probability.numpy(), truth, scan.image.affine


def main(bundle: str, checkpoint: str, data: str, out: str, fold: str = "0") -> None:
    """Sweep, write the table and print the best pair."""
    table = sweep(held_out(bundle, Path(checkpoint), Path(data), int(fold)))
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "sweep.csv", index=False, float_format="%.4f")
    best = table.iloc[0]
    print(table.head(10).to_string(index=False, float_format="%.4f"))
    print(
        f"--set to_mask#doubtful_voxels={best['voxels']:.0f} "
        f"--set to_mask#doubtful_below={best['below']:g}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
