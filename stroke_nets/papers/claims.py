"""What the papers claim, and whether the benchmark supports it; docs/benchmark.md is the protocol.

``claims.json`` holds one sentence for each claim, with the comparisons of methods that it makes.
Both methods of a comparison predict the same patients. A patient's figure is the mean over the
method's seeds. The p-values of a table's claims are corrected together (Holm), whether or not other
tables have been run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stroke_nets.evaluation.statistics import holm, paired_tests
from stroke_nets.evaluation.summary import DISTANCES, mean_interval, values
from stroke_nets.files import write_whole
from stroke_nets.papers.tables import in_subset, published
from stroke_nets.runs.results import CaseRow, EvaluatedRun, key, read_cases, read_run
from stroke_nets.text_table import markdown_table

SUPPORTED, NOT_SUPPORTED = "supported here", "not supported here"
UNDECIDED, NOT_RUN = "undecided", "not run"
ALPHA = 0.05
LEAST = {"asd": 0.0, "hd95": 0.0}  # mm; the gain below which a claim does not hold ...
LEAST_OVERLAP = 0.01  # ... of Dice or lesion F1
HEAD = ("Better, it says", "Than", "Gain", "95 % interval", "p (Holm)", "Cases", "Seeds", "Here")


@dataclass(frozen=True)
class Comparison:
    """A method that a paper calls better than another one, on the benchmark's test patients.

    Attributes:
        better, worse: ``<bundle>/<overlay>``, as the paper has it.
        n: patients of whom both have the metric; 0 if one has not been run.
        seeds: trainings of the one and of the other.
        gain: mean over the patients, above 0 if the paper is right; None without patients.
        low, high: 95 % bootstrap interval of the gain; None for fewer than two patients.
        p: Wilcoxon signed-rank test, two-sided.
        p_holm: corrected for all comparisons of the table's claims.
        every_seed: whether the gain is above 0 in each seed that both have.
        verdict: `SUPPORTED`, `NOT_SUPPORTED`, `UNDECIDED` or `NOT_RUN`.
    """

    better: str
    worse: str
    n: int
    seeds: tuple[int, int]
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    every_seed: bool = False
    verdict: str = NOT_RUN


@dataclass(frozen=True)
class Claim:
    """A claim, its comparisons and what follows from them."""

    table: str
    claim: str
    metric: str
    comparisons: Sequence[Comparison]
    verdict: str

    @property
    def sentence(self) -> str:
        """One sentence for the reader."""
        holds = sum(c.verdict == SUPPORTED for c in self.comparisons)
        return f"{self.claim}: {self.verdict} ({holds} of {len(self.comparisons)} comparisons)."


def papers_claims(tables: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of ``claims.json`` for some tables, each with its ``pairs`` of runs."""
    text = (resources.files("stroke_nets.papers") / "claims.json").read_text()
    entries = [entry for entry in json.loads(text) if entry["table"] in tables]
    return [
        {"pairs": [(e["better"], other) for other in e["than"]]} | e if "than" in e else e
        for e in entries
    ]


def judge(tables: Sequence[str], runs: Path) -> list[Claim]:
    """Decide the claims of some tables.

    Args:
        tables: names; those without a claim are left out.
        runs: the folder of all runs.

    Raises:
        DataError: a run's files are damaged.
    """
    entries = papers_claims(tables)
    names = sorted({name for entry in entries for pair in entry["pairs"] for name in pair})
    found = {name: read_run(runs, name) for name in names}
    judged: list[Claim] = []
    for table in dict.fromkeys(entry["table"] for entry in entries):
        mine = [entry for entry in entries if entry["table"] == table]
        subset = published([table])[table].get("subset", "entire")
        raw = [
            [_compare(found[a], found[b], (a, b), e["metric"], subset) for a, b in e["pairs"]]
            for e in mine
        ]
        judged += map(_claim, mine, _corrected(raw))
    return judged


def _compare(
    better: EvaluatedRun | None,
    worse: EvaluatedRun | None,
    names: tuple[str, str],
    metric: str,
    subset: str,
) -> Comparison:
    seeds = tuple(len(run.folders) if run else 0 for run in (better, worse))
    result = Comparison(*names, 0, (seeds[0], seeds[1]))
    if better is None or worse is None:
        return result
    gains = _gains(better.cases, worse.cases, metric, subset)
    if not len(gains):
        return result
    low, high = mean_interval(gains) or (None, None)
    by_seed = [
        _gains(read_cases(better.folders[k]), read_cases(worse.folders[k]), metric, subset)
        for k in sorted(better.folders.keys() & worse.folders.keys())
    ]
    by_patient = dict(enumerate(gains.tolist()))
    return replace(
        result,
        n=len(gains),
        gain=float(gains.mean()),
        low=low,
        high=high,
        p=paired_tests(by_patient, dict.fromkeys(by_patient, 0.0))["wilcoxon"],
        every_seed=all(len(one) and one.mean() > 0 for one in by_seed),
    )


def _gains(
    better: Sequence[CaseRow], worse: Sequence[CaseRow], metric: str, subset: str
) -> NDArray[np.float64]:
    """The gain of each patient of a subset of whom both methods have the metric."""
    ours, theirs = (
        dict(zip(map(key, cases), values(cases, metric, "paper").tolist(), strict=True))
        for cases in (in_subset(better, subset), in_subset(worse, subset))
    )
    sign = -1 if metric in DISTANCES else 1  # less is better
    gains = np.array([sign * (ours[case] - theirs[case]) for case in ours if case in theirs])
    return gains[np.isfinite(gains)]


def _corrected(raw: Sequence[Sequence[Comparison]]) -> list[list[Comparison]]:
    """The comparisons of a table's claims with p-values that are corrected together."""
    corrected = iter(holm([c.p for comparisons in raw for c in comparisons]))
    return [[replace(c, p_holm=next(corrected)) for c in comparisons] for comparisons in raw]


def _claim(entry: Mapping[str, Any], comparisons: Sequence[Comparison]) -> Claim:
    metric = entry["metric"]
    judged = [
        replace(c, verdict=_verdict(c, LEAST.get(metric, LEAST_OVERLAP))) for c in comparisons
    ]
    verdicts = {c.verdict for c in judged}
    if NOT_RUN in verdicts:
        verdict = NOT_RUN
    elif NOT_SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    else:
        verdict = UNDECIDED if UNDECIDED in verdicts else SUPPORTED
    return Claim(entry["table"], entry["claim"], metric, judged, verdict)


def _verdict(found: Comparison, least: float) -> str:
    """The decision rule of docs/benchmark.md for one comparison."""
    if found.gain is None:
        return NOT_RUN
    if found.low is None or found.high is None or found.p_holm is None:
        return UNDECIDED
    if found.low > 0 and found.p_holm < ALPHA and found.every_seed:
        return SUPPORTED
    return NOT_SUPPORTED if found.high < least else UNDECIDED


def write_claims(claims: Sequence[Claim], out: Path, note: str = "") -> list[Path]:
    """Write ``claims.md``, ``claims.csv`` and ``claims.json``.

    Args:
        claims: as `judge` returns them.
        out: the folder, made if need be.
        note: a line above, such as what the patients are.

    Returns:
        The three files.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = [
        {"table": c.table, "claim": c.claim, "metric": c.metric, "claim_verdict": c.verdict}
        | asdict(comparison)
        for c in claims
        for comparison in c.comparisons
    ]
    texts = {
        "md": _markdown(claims, note),
        "csv": str(pd.DataFrame(lines).to_csv(index=False)),
        "json": json.dumps([asdict(c) | {"sentence": c.sentence} for c in claims], indent=1) + "\n",
    }
    for ending, text in texts.items():
        write_whole(out / f"claims.{ending}", text)
    return [out / f"claims.{ending}" for ending in texts]


def _markdown(claims: Sequence[Claim], note: str) -> str:
    parts = ["# What the papers claim, and what holds here", ""]
    parts += [f"**{note}**", ""] if note else []
    parts += [f"- {claim.table}: {claim.sentence}" for claim in claims]
    for claim in claims:
        parts += ["", f"## {claim.table}: {claim.claim}", "", f"Metric: {claim.metric}.", ""]
        parts.append(markdown_table(HEAD, map(_cells, claim.comparisons), "llrrrrrl"))
    return "\n".join([*parts, ""])


def _cells(found: Comparison) -> Sequence[object]:
    interval = "-" if found.low is None else f"{found.low:+.3f} to {found.high:+.3f}"
    p = "-" if found.p is None else f"{found.p:.2g} ({found.p_holm:.2g})"
    gain = "-" if found.gain is None or math.isnan(found.gain) else f"{found.gain:+.3f}"
    seeds = " and ".join(map(str, found.seeds))
    return found.better, found.worse, gain, interval, p, found.n, seeds, found.verdict
