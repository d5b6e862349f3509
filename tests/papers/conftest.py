"""Run folders made of bars of lesion, for what compares runs."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.summary import summarize

SHAPE = (16, 14, 4)
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])  # a voxel is 1 ml


def bar(length, y=4):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2 : 2 + length, y : y + 2, 1] = 1
    return mask


def write_fold(runs, name, fold, cases, parameters=1234):
    """One evaluated fold: each case is subject, truth, prediction."""
    folder = runs / name / f"fold{fold}"
    rows = []
    for subject, truth, prediction in cases:
        paths = {
            "image": f"{subject}_T1w.nii.gz",
            "label": f"{subject}_mask.nii.gz",
            "prediction": f"predictions/{subject}_pred.nii.gz",
        }
        path = folder / paths["prediction"]
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(prediction, AFFINE), path)
        figures = case_metrics(prediction, truth, (10, 10, 10))
        rows.append({"subject": subject, "session": "", **paths} | figures)
    pd.DataFrame(rows).to_csv(folder / "cases.csv", index=False)
    known = {"parameters": parameters, "connectivity": 6}
    (folder / "summary.json").write_text(json.dumps(known | summarize(rows, resamples=50)))
    return folder


@pytest.fixture
def data(tmp_path):
    """A data root with six patients, whose lesions grow; the last has none."""
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        truth = bar(2 * (number % 6))
        for name, voxels in (("T1w", 1 + rng.random(SHAPE)), ("mask", truth)):
            nib.save(nib.Nifti1Image(voxels, AFFINE), root / f"sub-{number}_{name}.nii.gz")
    return root


@pytest.fixture
def runs(tmp_path):
    """Writes runs on those patients: `runs(name, shorter)` misses that many slices of a lesion."""
    root = tmp_path / "runs"

    def write(name, shorter, subjects=range(1, 7), fold=0, parameters=1234):
        cases = [
            (f"sub-{n}", bar(2 * (n % 6)), bar(max(2 * (n % 6) - shorter, 0))) for n in subjects
        ]
        write_fold(root, name, fold, cases, parameters)
        return root

    return write
