"""Read the results of runs: ``<runs>/<bundle>/<overlay or default>/fold<k>/``.

Everything that compares runs (tables, figures) uses this module, also to see if a run is complete.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import EmptyDataError, ParserError

from stroke_nets.errors import DataError
from stroke_nets.evaluation.summary import DISTANCES

CaseRow = dict[str, Any]
FILES = ("cases.csv", "summary.json")


@dataclass(frozen=True)
class EvaluatedRun:
    """The evaluated folds of one method, pooled: each case is held out once.

    Folds that all hold out the same cases, as those of a manifest with splits, are repetitions with
    another seed: a case's figures are their means.

    Attributes:
        name: ``<bundle>/<overlay>``.
        folders: run folders by fold.
        cases: one row for each case as in `cases.csv`, with its ``fold``, of repetitions the first.
        parameters: number of network parameters; None if nothing was trained.
        connectivity: connectivity of lesions.
    """

    name: str
    folders: dict[int, Path]
    cases: list[CaseRow]
    parameters: int | None
    connectivity: int


def evaluated_folds(runs: Path, name: str) -> dict[int, Path]:
    """The folds of a run that have been evaluated, with their folders."""
    found = {
        int(folder.name.removeprefix("fold")): folder
        for folder in (runs / name).glob("fold*")
        if folder.name.removeprefix("fold").isdigit()
        and all((folder / file).is_file() for file in FILES)
    }
    return dict(sorted(found.items()))


def read_run(runs: Path, name: str) -> EvaluatedRun | None:
    """Read a run; None if no fold of it has been evaluated.

    Args:
        runs: the folder of all runs.
        name: ``<bundle>/<overlay>``.

    Raises:
        DataError: a file is damaged, a case is in two folds, or the folds differ in evaluation or
            network.
    """
    folders = evaluated_folds(runs, name)
    if not folders:
        return None
    read = {fold: read_cases(folder) for fold, folder in folders.items()}
    alike = len({frozenset(map(key, rows)) for rows in read.values()}) == 1 < len(read)
    cases = _means(list(read.values())) if alike else _pooled(read, folders)
    summaries = [_summary(folder / "summary.json") for folder in folders.values()]
    return EvaluatedRun(
        name,
        folders,
        [{"fold": next(iter(folders))} | case for case in cases],
        _common(summaries, "parameters", runs / name),
        _common(summaries, "connectivity", runs / name),
    )


def _pooled(read: dict[int, list[CaseRow]], folders: dict[int, Path]) -> list[CaseRow]:
    """The cases of folds that hold out different ones."""
    cases: dict[tuple[str, str], CaseRow] = {}
    for fold, rows in read.items():
        for case in rows:
            if key(case) in cases:
                raise DataError(
                    f"{folders[fold] / 'cases.csv'}: {' '.join(key(case))} was also held out in "
                    f"fold {cases[key(case)]['fold']}; evaluate folds of one manifest"
                )
            cases[key(case)] = case | {"fold": fold}
    return list(cases.values())


def _means(repetitions: list[list[CaseRow]]) -> list[CaseRow]:
    """Each case with the mean of its figures, over the repetitions that have them."""
    found = [{key(case): case for case in rows} for rows in repetitions]
    return [
        first | {name: _mean([rows[case][name] for rows in found]) for name in _figures(first)}
        for case, first in found[0].items()
    ]


def _figures(case: CaseRow) -> list[str]:
    return [name for name, value in case.items() if not isinstance(value, str)]


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def key(case: CaseRow) -> tuple[str, str]:
    """The key that identifies a case across runs."""
    return str(case["subject"]), str(case["session"])


def read_cases(folder: Path) -> list[CaseRow]:
    """The rows of a run folder's ``cases.csv``.

    Raises:
        DataError: it is damaged.
    """
    path = folder / "cases.csv"
    text = dict.fromkeys(("subject", "session", "image", "label", "prediction"), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"": []})
    except (EmptyDataError, ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table ({error}); run evaluating again") from error
    lacks = {*text, *DISTANCES, "lesion_f1", "largest_lesion_voxels"} - set(table.columns)
    if lacks or table.empty:
        what = f"no column {', '.join(sorted(lacks))}" if lacks else "no case"
        raise DataError(f"{path}: {what}; run evaluating again")
    figures = [name for name in table.columns if name not in text]
    table[figures] = table[figures].apply(pd.to_numeric, errors="coerce")
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _summary(path: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); run evaluating again") from error
    return summary


def _common(summaries: list[dict[str, Any]], name: str, run: Path) -> Any:
    """The value that all folds of a run must share."""
    found = {summary.get(name) for summary in summaries}
    if len(found) > 1:
        raise DataError(f"{run}: its folds differ in {name} ({found}); run them alike")
    return found.pop()
