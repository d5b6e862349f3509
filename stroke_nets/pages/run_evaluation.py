"""The evaluation part of a run's report: tables, and one picture per case.

It reads result files and the scans listed in them, and computes no metrics itself.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

from stroke_nets.errors import DataError, UsageError
from stroke_nets.pages.case_figure import CONVENTION, draw_png, load_slice
from stroke_nets.pages.page import without_folder

# column: (heading, decimals)
COLUMNS = {
    "dice": ("Dice", 3),
    "recall": ("Recall", 3),
    "precision": ("Precision", 3),
    "asd": ("ASD (mm)", 2),
    "hd95": ("HD95 (mm)", 2),
    "lesion_f1": ("Lesion F1", 3),
    "truth_ml": ("Truth (ml)", 2),
    "predicted_ml": ("Predicted (ml)", 2),
    "lesions_truth": ("Lesions, truth", 0),
    "lesions_predicted": ("Lesions, predicted", 0),
}
FILES = ("image", "label", "prediction")
RESULTS = ("cases.csv", "summary.json")
# Keys of summary.json that need a longer label.
NAMES = {
    "n_cases": "cases",
    "policy": "rule for empty masks",
    "dice_global": "Dice of the voxels pooled over all cases",
    "empty_prediction": "cases with a lesion and an empty prediction",
    "empty_truth": "cases without a lesion but with false positives",
    "both_empty": "cases without a lesion and without a prediction",
    "connectivity": "neighbours of a lesion's voxel",
}


def evaluation(run_dir: Path, dataset_dir: Path) -> dict[str, Any]:
    """The variables of ``evaluation.html`` for a run.

    Args:
        run_dir: folder with ``cases.csv``, ``summary.json`` and the predictions.
        dataset_dir: folder with the images and labels.

    Raises:
        UsageError: ``cases.csv`` or ``summary.json`` is missing.
        DataError: a result file or scan cannot be read, or a mask lies on another grid.
    """
    cases, summary = _read_results(run_dir)
    dice, interval = summary["metrics"]["dice"]["mean"], summary["metrics"]["dice"]["ci95"]
    return {
        "dice": _number(dice, 3),
        "interval": " to ".join(_number(end, 3) for end in interval or ()),
        "facts": _facts(summary),
        "metrics": _metrics(summary),
        "by_volume": _by_volume(summary),
        "headings": [heading for heading, _ in COLUMNS.values()],
        "cases": [_case(case, run_dir, dataset_dir) for case in cases],
        "convention": CONVENTION,
    }


def _read_results(run_dir: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows of `cases.csv` by subject and session, and `summary.json`."""
    for name in RESULTS:
        if not (run_dir / name).is_file():
            raise UsageError(f"{run_dir}: no {name} there; run evaluating first")
    with (run_dir / "cases.csv").open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    wanted = {"subject", "session", *FILES, *COLUMNS}
    if not cases or (missing := wanted - set(cases[0])):
        lacks = "no case" if not cases else "no column " + ", ".join(sorted(missing))
        raise DataError(f"{run_dir / 'cases.csv'}: {lacks}; run evaluating again")
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{run_dir / 'summary.json'}: not JSON ({error})") from error
    return sorted(cases, key=lambda case: (case["subject"], case["session"])), summary


def _number(value: Any, decimals: int) -> str:
    """A number as text; "n/a" if it is undefined (None, nan or an empty cell)."""
    number = math.nan if value in (None, "") else float(value)
    return "n/a" if math.isnan(number) else f"{number:.{decimals}f}"


def _metrics(summary: dict[str, Any]) -> list[list[str]]:
    """A row for each metric over all cases."""
    rows = []
    for name, (heading, decimals) in COLUMNS.items():
        found, digits = summary["metrics"][name], max(decimals, 1)
        mean, std, median = (_number(found[key], digits) for key in ("mean", "std", "median"))
        low, high = (_number(end, digits) for end in found["ci95"] or (None, None))
        excluded = [f"{count} {reason}" for reason, count in found["excluded"].items()]
        why = ", ".join(excluded).replace("_", " ") or "0"
        rows.append([heading, f"{mean} ± {std}", f"{low} to {high}", median, str(found["n"]), why])
    return rows


def _by_volume(summary: dict[str, Any]) -> list[list[str]]:
    """Rows by lesion volume: patients by their total volume, lesions by their own."""
    return [
        [row["bin"].replace("_", " "), str(row["n_cases"])]
        + [_number(row[name]["mean"], 3) for name in ("dice", "recall", "precision", "lesion_f1")]
        + [str(row.get("n_lesions", "n/a")), _number(row.get("lesion_dice"), 3)]
        for row in summary["by_volume"]
    ]


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Single values: settings, pooled Dice, number of cases with an empty mask."""
    above = summary["dice_above_1ml"]
    found = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
    found["dice_global"] = _number(summary["dice_global"], 3)
    name = f"mean Dice of the {above['n']} cases above {above['min_ml']:g} ml"
    found[name] = _number(above["mean"], 3)
    found |= summary["policy_cases"]
    return [
        (NAMES.get(key, key.replace("_", " ")), without_folder(value))
        for key, value in found.items()
    ]


def _case(case: dict[str, str], run_dir: Path, dataset_dir: Path) -> dict[str, Any]:
    """A case's row and picture."""
    for key in FILES:
        if Path(case[key]).is_absolute():
            raise DataError(f"{run_dir / 'cases.csv'}: the path {case[key]} must be relative")
    shown = load_slice(
        dataset_dir / case["image"], dataset_dir / case["label"], run_dir / case["prediction"]
    )
    who = " ".join(filter(None, [case["subject"], case["session"]]))
    what = f"slice {shown.z}, Dice {_number(case['dice'], 3)}"
    return {
        "subject": case["subject"],
        "session": case["session"],
        "figures": [_number(case[name], decimals) for name, (_, decimals) in COLUMNS.items()],
        "png": draw_png(shown),
        "alt": f"{who}, axial {what}: image, truth, prediction and their difference",
        "who": who,
        "what": what,
        "files": "; ".join(f"{key} {case[key]}" for key in FILES),
    }
