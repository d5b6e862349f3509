"""One page that shows a run: the table of its figures and one picture per case.

It reads result files and the scans that they name, and computes no figure itself.
"""

import csv
import json
import math
from html import escape
from pathlib import Path
from typing import Any

from stroke_nets.errors import DataError, UsageError
from stroke_nets.pages.case_figure import CONVENTION, draw_png, load_slice
from stroke_nets.pages.page import facts, picture, table, write_page

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
# Keys of summary.json that need more than their own name.
NAMES = {
    "n_cases": "cases",
    "policy": "rule for empty masks",
    "dice_global": "Dice of the voxels pooled over all cases",
    "empty_prediction": "cases with a lesion and an empty prediction",
    "empty_truth": "cases without a lesion but with false positives",
    "both_empty": "cases without a lesion and without a prediction",
    "connectivity": "neighbours of a lesion's voxel",
}


def write_report(run_dir: Path, dataset_dir: Path) -> Path:
    """Write `run_dir/report.html`, a page that needs no other file.

    Args:
        run_dir: holds `cases.csv`, `summary.json` and the predictions.
        dataset_dir: holds the images and labels.

    Returns:
        The path of the page.

    Raises:
        UsageError: `cases.csv` or `summary.json` is missing.
        DataError: a result file or scan that cannot be read, or masks on another grid.
    """
    cases, summary = _read_results(run_dir)
    name = run_dir.resolve().name
    figures = [_case_figure(i, case, run_dir, dataset_dir) for i, case in enumerate(cases)]
    parts = [
        _summary_section(summary),
        _volume_section(summary),
        _cases_section(cases),
        f"<h2>Pictures</h2>\n<p>{CONVENTION}</p>",
        *figures,
    ]
    return write_page(run_dir / "report.html", f"Evaluation of {name}", parts)


def _read_results(run_dir: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows of `cases.csv` by subject and session, and `summary.json`."""
    for name in ("cases.csv", "summary.json"):
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
    except ValueError as error:
        raise DataError(f"{run_dir / 'summary.json'}: not JSON ({error})") from error
    return sorted(cases, key=lambda case: (case["subject"], case["session"])), summary


def _number(value: Any, decimals: int) -> str:
    """A figure for the page; "n/a" for what is undefined (None, nan or an empty cell)."""
    number = math.nan if value in (None, "") else float(value)
    return "n/a" if math.isnan(number) else f"{number:.{decimals}f}"


def _summary_section(summary: dict[str, Any]) -> str:
    """The settings of the run, the table over all cases and the counts."""
    rows = []
    for name, (heading, decimals) in COLUMNS.items():
        found, digits = summary["metrics"][name], max(decimals, 1)
        mean, std, median = (_number(found[key], digits) for key in ("mean", "std", "median"))
        low, high = (_number(end, digits) for end in found["ci95"] or (None, None))
        excluded = [f"{count} {reason}" for reason, count in found["excluded"].items()]
        why = escape(", ".join(excluded).replace("_", " ")) or "0"
        rows.append(
            [heading, f"{mean} &plusmn; {std}", f"{low} to {high}", median, str(found["n"]), why]
        )
    caption = "Mean &plusmn; sample standard deviation; excluded: cases where a figure is undefined"
    head = ["Metric", "Mean &plusmn; std", "95 % interval of the mean", "Median", "Cases"]
    head.append("Excluded")
    return f"<h2>Summary</h2>\n{_facts(summary)}\n{table(caption, head, rows)}"


def _volume_section(summary: dict[str, Any]) -> str:
    """The table by lesion volume: patients by their total, lesions by their own."""
    rows = [
        [escape(row["bin"].replace("_", " ")), str(row["n_cases"])]
        + [_number(row[name]["mean"], 3) for name in ("dice", "recall", "precision", "lesion_f1")]
        + [str(row.get("n_lesions", "n/a")), _number(row.get("lesion_dice"), 3)]
        for row in summary["by_volume"]
    ]
    head = ["Volume", "Cases", "Dice", "Recall", "Precision", "Lesion F1", "Lesions", "Lesion Dice"]
    caption = "Means; cases by their total lesion volume, lesions by their own"
    return f"<h2>By volume</h2>\n{table(caption, head, rows)}"


def _facts(summary: dict[str, Any]) -> str:
    """What is one number or word: settings, pooled Dice, how often an empty mask decided."""
    above = summary["dice_above_1ml"]
    found = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
    found["dice_global"] = _number(summary["dice_global"], 3)
    found[f"mean Dice of the {above['n']} cases above {above['min_ml']:g} ml"] = _number(
        above["mean"], 3
    )
    found |= summary["policy_cases"]
    return facts([(NAMES.get(key, key.replace("_", " ")), v) for key, v in found.items()])


def _cases_section(cases: list[dict[str, str]]) -> str:
    """The table with one row per case; the subject leads to its picture."""
    rows = [
        [f'<a href="#case-{i}">{escape(case["subject"])}</a>', escape(case["session"])]
        + [_number(case[name], decimals) for name, (_, decimals) in COLUMNS.items()]
        for i, case in enumerate(cases)
    ]
    head = ["Subject", "Session", *(heading for heading, _ in COLUMNS.values())]
    caption = "n/a: undefined because a mask is empty"
    return f"<h2>Cases</h2>\n{table(caption, head, rows)}"


def _case_figure(index: int, case: dict[str, str], run_dir: Path, dataset_dir: Path) -> str:
    """The picture of one case with its caption."""
    for key in FILES:
        if Path(case[key]).is_absolute():
            raise DataError(f"{run_dir / 'cases.csv'}: the path {case[key]} must be relative")
    shown = load_slice(
        dataset_dir / case["image"], dataset_dir / case["label"], run_dir / case["prediction"]
    )
    who = " ".join(filter(None, [case["subject"], case["session"]]))
    what = f"slice {shown.z}, Dice {_number(case['dice'], 3)}"
    alt = f"{who}, axial {what}: image, truth, prediction and their difference"
    files = "; ".join(f"{key} {case[key]}" for key in FILES)
    caption = f"<strong>{escape(who)}</strong>, {what}<br><small>{escape(files)}</small>"
    return picture(draw_png(shown), alt, caption, f"case-{index}")
