"""Write a table as Markdown, LaTeX and CSV.

Markdown and LaTeX have three lines for each method, ours, the paper's and the difference; CSV has
one line for each figure.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from stroke_nets.evaluation.statistics import TESTS
from stroke_nets.evaluation.summary import DISTANCES
from stroke_nets.files import write_whole
from stroke_nets.papers.tables import Cell, Pair, Row, Table
from stroke_nets.text_table import markdown_table

HEADINGS = {
    "dice": "DSC",
    "dice_global": "DSC (global)",
    "recall": "Recall",
    "precision": "Precision",
    "asd": "ASD (mm)",
    "hd95": "95HD (mm)",
    "lesion_f1": "Lesion F1",
    "parameters": "Parameters",
}
NOT_RUN, NOTHING = "not run", "-"
EMPTY = ("empty_prediction", "empty_truth", "both_empty")
CSV_COLUMNS = (
    *("table", "method", "run", "status", "folds", "metric", "ours", "ours_std", "ci95_low"),
    *("ci95_high", "paper", "paper_std", "difference", "n_excluded", "n_cases", *EMPTY),
)
LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "<": "$<$", ">": "$>$"}


def write_table(
    table: Table, out: Path, expected_folds: int, note: str = "", seeds: bool = False
) -> list[Path]:
    """Write `<name>.md`, `<name>.tex` and `<name>.csv` into a folder.

    Args:
        table: what to write.
        out: the folder, made if need be.
        expected_folds: folds that the paper's figures are over.
        note: a line above the table, such as "simulated patients".
        seeds: the folds are repetitions; our means then have their 95 % intervals beside them.

    Returns:
        The three files.
    """
    out.mkdir(parents=True, exist_ok=True)
    head, lines = _head(table), _lines(table, expected_folds, seeds)
    head = ["Seeds" if seeds and title == "Folds" else title for title in head]
    texts = {
        "md": _markdown(table, head, lines, note),
        "tex": _latex(table, head, lines, note),
        "csv": _csv(table),
    }
    files = []
    for ending, text in texts.items():
        files.append(out / f"{table.name}.{ending}")
        write_whole(files[-1], text)
    return files


def _head(table: Table) -> list[str]:
    tested = [
        f"p of {HEADINGS[metric]}, {TESTS[test]} (Holm)" for metric in table.tests for test in TESTS
    ]
    excluded = [f"{HEADINGS[m]} excluded" for m in DISTANCES if m in table.metrics]
    metrics = [HEADINGS[metric] for metric in table.metrics]
    return ["Method", "", *metrics, *tested, "Cases", "Folds", "Empty", *excluded]


def _lines(table: Table, expected_folds: int, intervals: bool = False) -> list[list[str]]:
    """Three lines of text for each row."""
    lines = []
    for row in table.rows:
        cells = [row.cells[metric] for metric in table.metrics]
        named = list(zip(table.metrics, cells, strict=True))
        blank = [""] * (len(_head(table)) - 2 - len(cells) - 2 * len(table.tests))
        ours = [_pair(metric, cell.ours) if row.folds else NOT_RUN for metric, cell in named]
        if intervals:
            ours = [
                f"{text}{_interval(row, m)}" for m, text in zip(table.metrics, ours, strict=True)
            ]
        paper = [_pair(metric, cell.paper, printed) for metric, cell in named]
        apart = [_signed(metric, cell.difference) for metric, cell in named]
        p_ours, p_paper = _p_texts(table, row)
        lines.append([row.label, "ours", *ours, *p_ours, *_counts(table, row, expected_folds)])
        lines.append(["", "paper", *paper, *p_paper, *blank])
        lines.append(["", "difference", *apart, *([""] * len(p_paper)), *blank])
    return lines


def printed(value: float) -> str:
    """A published number to the digits that its paper prints.

    Those are three decimals, more where there are more, and E notation below 0.001.
    """
    if 0 < abs(value) < 1e-3:
        return f"{Decimal(repr(value)).normalize():E}"
    text = f"{value:.3f}"
    return text if float(text) == value else repr(value)


def _rounded(value: float) -> str:
    return f"{value:.3f}"


def _pair(metric: str, pair: Pair, text: Callable[[float], str] = _rounded) -> str:
    mean, std = pair
    if mean is None:
        return NOTHING
    if metric == "parameters":
        return f"{mean:,.0f}"
    return text(mean) + (f" ± {text(std)}" if std is not None else "")


def _interval(row: Row, metric: str) -> str:
    found = row.intervals.get(metric)
    return f" [{found[0]:.3f}, {found[1]:.3f}]" if found else ""


def _signed(metric: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    if metric == "parameters":  # a narrow network is another one: how far it is off says nothing
        return "equal" if value == 0 else "another network"
    return f"{value:+.3f}"


def _p_texts(table: Table, row: Row) -> tuple[list[str], list[str]]:
    """The p-values of a row, ours and the paper's; the paper names no test."""
    ours, paper = [], []
    for metric in table.tests:
        found = row.p_values[metric]
        for test in TESTS:
            raw, corrected = found[test], found[f"{test}_holm"]
            ours.append(NOTHING if raw is None else f"{raw:.2g} ({corrected:.2g})")
        theirs = row.cells[f"{metric}_p"].paper[0]
        paper += [NOTHING if theirs is None else printed(theirs), ""]
    return ours, paper


def _counts(table: Table, row: Row, expected_folds: int) -> list[str]:
    shown = [name for name in DISTANCES if name in table.metrics]
    if not row.folds:
        return [NOTHING, f"0 of {expected_folds}", NOTHING, *([NOTHING] * len(shown))]
    empty = [row.counts[name] for name in EMPTY]
    return [
        str(row.counts["n_cases"]),
        f"{len(row.folds)} of {expected_folds}",
        " / ".join(map(str, empty)),
        *(str(row.counts[f"{name}_excluded"]) for name in shown),
    ]


def _markdown(table: Table, head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    body = markdown_table(head, lines, "ll" + "r" * (len(head) - 2))
    above = [f"**{note}**", ""] if note else []
    below = [f"- {text}" for text in table.notes]
    return "\n".join([f"# {table.title}", "", *above, body, "", *below, ""])


def _latex(table: Table, head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    """A table for `booktabs`, inside a box as wide as the page."""

    def text(words: str) -> str:
        return "".join(LATEX.get(letter, letter) for letter in words)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(text, cells)) + r" \\"

    rows = [
        line(cells) + (r" \addlinespace" if cells[1] == "difference" else "") for cells in lines
    ]
    caption = " ".join([table.title + ".", *([note + "."] if note else []), *table.notes])
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,graphicx}",
            r"\begin{table}",
            rf"\caption{{{text(caption)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            r"\toprule",
            line(head),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _csv(table: Table) -> str:
    """One line for each figure of each row; empty where there is none."""
    lines: list[dict[str, Any]] = []
    for row in table.rows:
        same = {
            "table": table.name,
            "method": row.label,
            "run": row.run,
            "status": "run" if row.folds else NOT_RUN,
            "folds": " ".join(map(str, row.folds)),
        } | {name: row.counts.get(name) for name in ("n_cases", *EMPTY)}
        lines += [same | _csv_figure(row, metric) for metric in table.metrics]
        for metric, found in row.p_values.items():
            for test, p_value in found.items() if found["n"] else ():
                lines.append(same | {"metric": f"{metric}_paired_{test}", "ours": p_value})
            lines.append(same | {"metric": f"{metric}_p"} | _csv_paper(row.cells[f"{metric}_p"]))
    table_lines = pd.DataFrame(lines, columns=list(CSV_COLUMNS), dtype=object)  # counts stay whole
    return str(table_lines.to_csv(index=False))


def _csv_figure(row: Row, metric: str) -> dict[str, Any]:
    cell = row.cells[metric]
    low, high = row.intervals.get(metric) or (None, None)
    ours = {"ours": cell.ours[0], "ours_std": cell.ours[1], "ci95_low": low, "ci95_high": high}
    more = {"difference": cell.difference, "n_excluded": row.counts.get(f"{metric}_excluded")}
    return {"metric": metric} | ours | _csv_paper(cell) | more


def _csv_paper(cell: Cell) -> dict[str, Any]:
    return {"paper": cell.paper[0], "paper_std": cell.paper[1]}
