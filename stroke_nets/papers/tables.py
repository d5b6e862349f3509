"""The papers' result tables: ours from run folders, theirs from ``published/*.json``.

A published table names, for each row, the run that reproduces it. A row that has not been run says
so; nothing of the paper's column is ever put in its place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from stroke_nets.errors import UsageError
from stroke_nets.evaluation.statistics import TESTS, holm, paired_tests
from stroke_nets.evaluation.summary import (
    DISTANCES,
    OVERLAP_RULE,
    POLICIES,
    policy_cases,
    summarize,
    values,
)
from stroke_nets.runs.results import CaseRow, EvaluatedRun, key, read_run

SMALL = 1000  # voxels of 1 mm (1 ml), MSCSA's small lesions
SUBSETS = {
    "entire": "all cases",
    "small": f"cases with a lesion and fewer than {SMALL} lesion voxels in all",
    "small_components": f"cases with a lesion and none of more than {SMALL} voxels",
}
Pair = tuple[float | None, float | None]  # mean and standard deviation


@dataclass(frozen=True)
class Cell:
    """One figure of one row: ours and the paper's, each with its standard deviation."""

    ours: Pair = (None, None)
    paper: Pair = (None, None)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's mean; None if either is missing."""
        ours, paper = self.ours[0], self.paper[0]
        return None if ours is None or paper is None else ours - paper


@dataclass(frozen=True)
class Row:
    """One method of a table.

    Attributes:
        label: as the paper calls it.
        run: ``<bundle>/<overlay>``.
        folds: evaluated folds; empty if the row has not been run.
        cells: by metric.
        p_values: paired tests by metric, each `n`, `wilcoxon`, `t` and both corrected by Holm.
        counts: cases, cases decided by an empty mask, cases without a surface distance.
        intervals: 95 % bootstrap interval of our mean by metric.
    """

    label: str
    run: str
    folds: Sequence[int]
    cells: Mapping[str, Cell]
    p_values: Mapping[str, dict[str, float | None]]
    counts: Mapping[str, int]
    intervals: Mapping[str, Sequence[float] | None]


@dataclass(frozen=True)
class Table:
    """A table to be written: its rows and what must be known to read them."""

    name: str
    title: str
    metrics: Sequence[str]
    tests: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=list)


def published(names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The papers' tables by name; all of them, or those named.

    Raises:
        UsageError: there is no such table.
    """
    folder = resources.files("stroke_nets.papers") / "published"
    files = sorted(file.name for file in folder.iterdir() if "table" in file.name)
    known = [name.removesuffix(".json") for name in files]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"table {unknown[0]!r}: choose among {', '.join(known)}")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names or known}


def build_table(name: str, table: Mapping[str, Any], runs: Path, policy: str = "paper") -> Table:
    """Fill a published table from run folders.

    Args:
        name: of the table.
        table: its published content.
        runs: the folder of all runs.
        policy: for empty masks, a key of `metrics.summary.POLICIES`.

    Raises:
        UsageError: an unknown policy.
        DataError: a result file is damaged.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r}: choose one of {', '.join(POLICIES)}")
    compared = {_reference(table, row) for row in table["rows"]} - {None}
    names = {str(run) for run in compared} | {row["run"] for row in table["rows"]}
    found = {run: read_run(runs, run) for run in sorted(names)}
    subset = table.get("subset", "entire")
    cases = {run: in_subset(read.cases, subset) for run, read in found.items() if read}
    tests = _all_tests(table, cases, policy)
    rows = [
        _row(table, row, found[row["run"]], cases, policy, p_values)
        for row, p_values in zip(table["rows"], tests, strict=True)
    ]
    done = [read for read in found.values() if read]
    metrics = [*table["metrics"], "parameters"]
    notes = _notes(table, done, policy)
    if absent := sorted(names - {run.name for run in done} - {r["run"] for r in table["rows"]}):
        notes.append(f"Not run: {', '.join(absent)}, with which the rows are compared.")
    return Table(name, table["title"], metrics, table.get("tests", []), rows, notes)


def in_subset(cases: Sequence[CaseRow], subset: str) -> list[CaseRow]:
    """The cases of a subset, a key of `SUBSETS`; on other grids by the volume of those voxels."""
    if subset == "small":
        return [case for case in cases if 0 < _cubic_mm(case) < SMALL]
    if subset == "small_components":
        return [case for case in cases if 0 < _largest_cubic_mm(case) <= SMALL]
    return list(cases)


def _cubic_mm(case: CaseRow) -> float:
    return round(float(case["truth_ml"]) * 1000, 6)


def _largest_cubic_mm(case: CaseRow) -> float:
    """Volume of the largest lesion, from its share of the case's lesion voxels."""
    voxels = case["tp"] + case["fn"]
    return _cubic_mm(case) * case["largest_lesion_voxels"] / voxels if voxels else 0.0


def _reference(table: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    """The run that a row is compared with, if it is compared at all."""
    reference = row.get("reference", table.get("reference"))
    return None if reference == row["run"] else reference


def _all_tests(
    table: Mapping[str, Any], cases: Mapping[str, list[CaseRow]], policy: str
) -> list[dict[str, dict[str, float | None]]]:
    """The paired tests of each row by metric, with Holm's correction over the rows."""
    tested: list[dict[str, dict[str, float | None]]] = [{} for _ in table["rows"]]
    for metric in table.get("tests", []):
        by_case = {
            run: dict(zip(map(key, rows), values(rows, metric, policy).tolist(), strict=True))
            for run, rows in cases.items()
        }
        found = [
            paired_tests(by_case.get(row["run"], {}), by_case.get(_reference(table, row) or "", {}))
            for row in table["rows"]
        ]
        for test in TESTS:
            for p_values, corrected in zip(found, holm([p[test] for p in found]), strict=True):
                p_values[f"{test}_holm"] = corrected
        for row_tests, p_values in zip(tested, found, strict=True):
            row_tests[metric] = p_values
    return tested


def _row(
    table: Mapping[str, Any],
    row: Mapping[str, Any],
    run: EvaluatedRun | None,
    cases: Mapping[str, list[CaseRow]],
    policy: str,
    p_values: dict[str, dict[str, float | None]],
) -> Row:
    paper = {metric: tuple(pair) for metric, pair in row["published"].items()}
    summary = summarize(cases[run.name], policy) if run else None
    ours = _figures(summary) if summary else {}
    counts = _counts(cases[run.name], summary) if run and summary else {}
    if table.get("minus_row") and run:
        reference = cases.get(table["reference"], [])
        ours, pairs = _minus(reference, cases[run.name], table["metrics"], policy)
        counts = counts | pairs
    if run and run.parameters:
        ours["parameters"] = (run.parameters, None)
    wanted = [*table["metrics"], "parameters", *(f"{metric}_p" for metric in p_values)]
    empty: Pair = (None, None)
    cells = {m: Cell(ours.get(m, empty), paper.get(m, empty)) for m in wanted}
    intervals = {m: f["ci95"] for m, f in summary["metrics"].items()} if summary else {}
    if table.get("minus_row"):
        intervals = {}
    folds = list(run.folders) if run else []
    return Row(row["label"], row["run"], folds, cells, p_values, counts, intervals)


def _figures(summary: Mapping[str, Any]) -> dict[str, Pair]:
    """Mean and standard deviation of every metric of a summary."""
    found: dict[str, Pair] = {
        name: (figures["mean"], figures["std"]) for name, figures in summary["metrics"].items()
    }
    return found | {"dice_global": (summary["dice_global"], None)}


def _minus(
    reference: Sequence[CaseRow], row: Sequence[CaseRow], metrics: Sequence[str], policy: str
) -> tuple[dict[str, Pair], dict[str, int]]:
    """Mean of the reference minus a row over the same patients, and how many are left out.

    A patient counts for a metric if both methods have it; ``<metric>_excluded`` counts the others.
    """
    found: dict[str, Pair] = {}
    excluded: dict[str, int] = {}
    shared = {key(case): case for case in reference}
    pairs = [(shared[key(case)], case) for case in row if key(case) in shared]
    for metric in metrics:
        columns = [values(column, metric, policy) for column in zip(*pairs, strict=True)]
        apart = columns[0] - columns[1] if columns else np.empty(0)
        kept = apart[np.isfinite(apart)]
        excluded[f"{metric}_excluded"] = len(row) - len(kept)
        if len(kept):
            found[metric] = (float(kept.mean()), None)
    return found, excluded


def _counts(cases: Sequence[CaseRow], summary: Mapping[str, Any]) -> dict[str, int]:
    excluded = {f"{name}_excluded": summary["metrics"][name]["n_excluded"] for name in DISTANCES}
    return {"n_cases": len(cases)} | policy_cases(cases) | excluded


def _notes(table: Mapping[str, Any], done: Sequence[EvaluatedRun], policy: str) -> list[str]:
    """What stands below the table."""
    notes = [
        f"Data set of the paper: {table['dataset']}; {SUBSETS[table.get('subset', 'entire')]}. "
        "Mean ± sample standard deviation over patients; DSC (global) pools voxels. Difference: "
        "ours minus the paper's.",
        f"Empty masks, policy '{policy}': {POLICIES[policy]}. {OVERLAP_RULE}. 'Empty' counts the "
        "cases with an empty prediction / an empty truth but false positives / both empty.",
    ]
    if table.get("minus_row"):
        notes.append(
            "Distances: the mean over the patients for whom both methods have one; 'excluded' "
            "counts the row's other patients. The paper subtracts two means, each over its own."
        )
    if "lesion_f1" in table["metrics"]:
        used = ", ".join(sorted({str(run.connectivity) for run in done})) or "none run"
        notes.append(f"Lesions are connected by {used} neighbours.")
    if "tests" in table:
        reference = table.get("reference", "the same scheme without the module")
        notes.append(
            f"p: two-sided tests on the cases that a row shares with {reference}; in brackets "
            "corrected by Holm over the rows. The paper names no test; its p stands as printed."
        )
    notes += [f"Paper: {table['note']}."] if "note" in table else []
    return notes + [f"{r['label']}: {r['note']}." for r in table["rows"] if "note" in r]
