"""Compare saved masks with the truth and write a run's result files."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from stroke_nets.data.check import require_same_grid
from stroke_nets.data.reader import ENDINGS
from stroke_nets.errors import UsageError
from stroke_nets.metrics.case import case_metrics
from stroke_nets.metrics.summary import summarize
from stroke_nets.transforms.load_scan import LoadScand, as_nifti

NAMES = ("subject", "session", "image", "label")


def evaluate(
    data: Sequence[dict[str, Any]],
    dataset_dir: str,
    output_dir: str,
    *,
    truth: Callable[[dict], dict],
    info: dict[str, Any],
) -> None:
    """Write ``cases.csv`` and ``summary.json`` into a run folder and print the mean Dice.

    Args:
        data: cases with ``image``, ``label`` and ``record``.
        dataset_dir: the data root; predictions mirror its tree.
        output_dir: the run folder, with ``predictions``.
        truth: loads a case's ``label`` on the grid of the predictions.
        info: bundle, overlay, fold and space, for the summary.

    Raises:
        UsageError: a prediction is missing.
        DataError: a file cannot be read, or a prediction lies on another grid.
    """
    run = Path(output_dir)
    masks = [prediction_path(run, case["record"]["image"]) for case in data]
    missing = [mask for mask in masks if not mask.is_file()]
    if missing:
        raise UsageError(f"{missing[0]}: no prediction ({len(missing)} missing); run inference")
    load = LoadScand("pred")
    rows = []
    for case, mask in tqdm(list(zip(data, masks, strict=True)), desc="evaluating", disable=None):
        volumes = _aligned(load, truth, case, mask)
        spacing = tuple(float(mm) for mm in volumes["label"].pixdim)
        label, pred = (np.asarray(volumes[k][0]) > 0 for k in ("label", "pred"))
        names = {k: case["record"].get(k, "") for k in NAMES}
        names["prediction"] = str(mask.relative_to(run))
        rows.append(names | case_metrics(pred, label, spacing))
    summary = info | summarize(rows)
    _replace(run / "cases.csv", pd.DataFrame(rows).to_csv(index=False))
    _replace(run / "summary.json", json.dumps(summary, indent=1) + "\n")
    print(f"wrote {run / 'cases.csv'} and {run / 'summary.json'}")


def prediction_path(run: Path, image: str) -> Path:
    """Where inference puts the mask of a scan, whose path is relative to the data root."""
    ending = next(e for e in ENDINGS if image.endswith(e))
    return run / "predictions" / f"{image.removesuffix(ending)}_pred.nii.gz"


def _aligned(load: Callable, truth: Callable, case: dict[str, Any], mask: Path) -> dict[str, Any]:
    """Truth and prediction, each 1 x X x Y x Z, on one grid."""
    loaded = truth({"image": case["image"], "label": case["label"]})
    pred = load({"pred": str(mask)})["pred"]
    require_same_grid(as_nifti(loaded["label"]), as_nifti(pred), str(mask))
    return {"label": loaded["label"], "pred": pred}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
