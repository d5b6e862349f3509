"""The page of all cases in a folder of predictions, and the same data as a CSV file."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from stroke_nets.errors import DataError
from stroke_nets.files import is_hidden, write_whole
from stroke_nets.pages.page import write_page
from stroke_nets.pages.plot import FLOOR_ML, Plot, Volume, volumes
from stroke_nets.pages.prediction_case import PredictionCase

RATINGS = ("good", "doubtful", "bad")
RATING_COLUMNS = ("case", "method", "rating", "notes")
FENCE = 1.5  # interquartile ranges beyond the quartiles: Tukey, Exploratory Data Analysis, 1977
FEWEST = 5  # ours: with fewer cases, quartiles are meaningless


@dataclass(frozen=True)
class Row:
    """A case in the table and in the CSV.

    Attributes:
        case: the output of ``predict`` for the case.
        folder: folder of its files, relative to the page.
        odd: why it is an outlier; empty if it is not.
        rating: one of `RATINGS` or empty.
        notes: the rater's notes.
    """

    case: PredictionCase
    folder: str
    odd: str = ""
    rating: str = ""
    notes: str = ""

    @property
    def fit(self) -> float | None:
        """How well the scan fits the template."""
        return _fit(self.case)

    @property
    def thumbnail(self) -> bytes | None:
        """A small picture, if ``predict`` drew one."""
        path = self.case.beside("thumbnail.jpg")
        return path.read_bytes() if path.is_file() else None

    def page(self, kind: str) -> str:
        """The URL of the case's ``report`` or ``viewer``."""
        return self.folder + self.case.beside(f"{kind}.html").name

    def facts(self) -> dict[str, Any]:
        """The case's row in the CSV file."""
        low, high = self.case.interval_ml or ("", "")
        sides = {"left": 0.0, "right": 0.0, "both": 0.0}
        for lesion in self.case.lesions:
            side = lesion.get("hemisphere", "both")
            sides[side] = sides.get(side, 0.0) + float(lesion["volume_ml"])
        return {
            "case": self.case.name,
            "method": self.case.method,
            "total_ml": round(self.case.total_ml, 4),
            "interval_low_ml": low,
            "interval_high_ml": high,
            "lesions": len(self.case.lesions),
            "largest_ml": max((float(one["volume_ml"]) for one in self.case.lesions), default=0.0),
            **{f"{side}_ml": round(sides[side], 4) for side in ("left", "right", "both")},
            "fit": "" if self.fit is None else self.fit,
            "warnings": len(self.case.warnings),
            "stands_out": self.odd,
            "rating": self.rating,
            "notes": self.notes,
        }


def write_index(out_dir: Path) -> Path:
    """Write ``index.html`` and ``cohort.csv`` of a folder, with a row for each case with a report.

    Ratings are read from ``ratings.tsv`` in the folder; the page offers this file for download.

    Args:
        out_dir: output folder of ``predict``.

    Returns:
        The path of the page.

    Raises:
        DataError: a sidecar, a lesion table, the ratings or the summary cannot be read.
    """
    ratings = read_ratings(out_dir / "ratings.tsv")
    cases = cases_of(out_dir)
    odd = stand_out([case for case, _ in cases])
    rows = [
        Row(case, folder, why, *ratings.get((case.name, case.method), ("", "")))
        for (case, folder), why in zip(cases, odd, strict=True)
    ]
    _write_csv(out_dir / "cohort.csv", [row.facts() for row in rows])
    return write_page(
        out_dir / "index.html",
        "cohort.html",
        "Predictions",
        script="cohort.js",
        rows=rows,
        plot=_plot(rows),
        ratings=RATINGS,
        columns=RATING_COLUMNS,
        failed=_failed(out_dir / "summary.json"),
        fewest=FEWEST,
    )


def read_ratings(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Read a folder's ratings: rating and notes by case and method; empty if there are none.

    Raises:
        DataError: the file is not a ratings table.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, found = list(table), table.fieldnames
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); download it again") from error
    if lacking := [name for name in RATING_COLUMNS if name not in (found or ())]:
        raise DataError(f"{path}: no column {', '.join(lacking)}; download it from the page again")
    for row in rows:
        if row["rating"] not in ("", *RATINGS):
            choices = ", ".join(RATINGS)
            raise DataError(f"{path}: rating {row['rating']!r} of {row['case']}; choose {choices}")
    return {(row["case"], row["method"]): (row["rating"], row["notes"] or "") for row in rows}


def stand_out(cases: Sequence[PredictionCase]) -> list[str]:
    """For each case, why it is an outlier; an empty string if it is not.

    A volume or registration is an outlier beyond Tukey's fences, with the logarithm of volumes,
    since they span decades. An empty mask is always an outlier.
    """
    logs = [math.log10(max(case.total_ml, FLOOR_ML)) for case in cases if case.lesions]
    volume = _fences(logs)
    fits = [_fit(case) for case in cases]
    fit = _fences([value for value in fits if value is not None])
    found = []
    for case, value in zip(cases, fits, strict=True):
        log = math.log10(max(case.total_ml, FLOOR_ML))
        reasons = [
            ("empty mask", not case.lesions),
            ("large volume", bool(case.lesions) and log > volume[1]),
            ("small volume", bool(case.lesions) and log < volume[0]),
            ("poor registration", value is not None and value < fit[0]),
        ]
        found.append(", ".join(reason for reason, holds in reasons if holds))
    return found


def _fit(case: PredictionCase) -> float | None:
    """The correlation of scan and template, if it was measured."""
    found = (case.content.get("Registration") or {}).get("resemblance")
    return None if found is None else float(found)


def _fences(values: Sequence[float]) -> tuple[float, float]:
    """The lower and upper limits for outliers; infinite if there are too few values."""
    if len(values) < FEWEST:
        return -math.inf, math.inf
    first, _, third = quantiles(values, n=4, method="inclusive")
    reach = FENCE * (third - first)
    return first - reach, third + reach


def cases_of(out_dir: Path) -> list[tuple[PredictionCase, str]]:
    """The cases that have a report, and their folders relative to the page."""
    found = []
    for report in sorted(out_dir.rglob("*_desc-*_report.html")):
        sidecar = report.with_name(f"{report.name.removesuffix('report.html')}mask.json")
        if is_hidden(report, out_dir) or not sidecar.is_file():  # an unfinished prediction
            continue
        case = PredictionCase(sidecar)
        found.append((case, f"{report.parent.relative_to(out_dir).as_posix()}/"))
    return found


def _plot(rows: Sequence[Row]) -> Plot | None:
    """The volumes of two cases or more."""
    if len(rows) < 2:
        return None
    cases = [
        Volume(
            f"{row.case.title}: {row.case.total_ml:.2f} ml{row.odd and f' ({row.odd})'}",
            row.case.total_ml,
            row.case.interval_ml,
            row.page("report"),
            bool(row.odd),
        )
        for row in rows
    ]
    return volumes("Lesion volume of each case, on a logarithmic axis", cases)


def _failed(summary: Path) -> list[dict[str, str]]:
    """The scans that ``predict`` could not segment."""
    if not summary.is_file():
        return []
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
        return [{"input": str(f["input"]), "error": str(f["error"])} for f in content["failed"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise DataError(f"{summary}: not of 'stroke-nets predict' ({error})") from error


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["case"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
