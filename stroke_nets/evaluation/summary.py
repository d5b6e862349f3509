"""Summary metrics of a set of cases, as in the papers' tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from stroke_nets.evaluation.lesions import BINS, SIZES, volume_bin

CaseRow = Mapping[str, Any]

# Surface distances for empty masks. Overlap does not depend on the policy: for its values, see
# `case.case_metrics` and `lesions.lesion_figures`.
POLICIES = {
    "paper": "distances to or from an empty mask are undefined: excluded and counted",
    "penalty": (
        "a distance to or from an empty mask is the image's diagonal in mm; 0 if both are empty"
    ),
}
OVERLAP_RULE = (
    "Dice, recall and precision are 0 where one mask is empty and 1 where both are (all policies)"
)
DISTANCES = ("asd", "hd95")
METRICS = (
    "dice",
    "recall",
    "precision",
    *DISTANCES,
    "lesion_f1",
    "lesion_precision",
    "lesion_recall",
    "lesions_truth",
    "lesions_predicted",
    "lesion_count_difference",
    "truth_ml",
    "predicted_ml",
    "volume_difference_ml",
)
STRATIFIED = ("dice", "recall", "precision", "lesion_f1")
RESAMPLES, SEED = 2000, 0  # for the bootstrap


def summarize(
    cases: Sequence[CaseRow], policy: str = "paper", min_ml: float = 1.0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Summarize the metrics of `case.case_metrics` over cases.

    Args:
        cases: one mapping per case; keys other than those of `case_metrics` are ignored.
        policy: a key of `POLICIES`.
        min_ml: lesion volume in ml above which a case counts in `dice_above_1ml`.
        resamples: number of bootstrap resamples.

    Returns:
        A JSON-serialisable dictionary (None for undefined numbers): `policy`, `n_cases`,
        `metrics` (per metric `mean`, `std` with ddof 1, `median`, `ci95` of the mean, `n`,
        `n_excluded` and, by reason, `excluded`), `dice_global` (from voxel counts pooled over the
        cases), `policy_cases` (how often an empty mask decided), `dice_above_1ml` (`mean`, `n`,
        `min_ml`), `by_volume` (a row per volume bin, see `_stratum`) and `by_size` (a row per size
        class of lesions, see `_of_size`).

    Raises:
        ValueError: the policy is unknown.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r}: choose one of {', '.join(POLICIES)}")
    large = [float(case["dice"]) for case in cases if float(case["truth_ml"]) > min_ml]
    return {
        "policy": policy,
        "n_cases": len(cases),
        "metrics": {name: _metric(cases, name, policy, resamples) for name in METRICS},
        "dice_global": _dice_global(cases),
        "policy_cases": policy_cases(cases),
        "dice_above_1ml": {
            "mean": float(np.mean(large)) if large else None,
            "n": len(large),
            "min_ml": min_ml,
        },
        "by_volume": [_stratum(cases, name) for name in ("lesion_free", *BINS)],
        "by_size": [_of_size(cases, name) for name in SIZES],
    }


def values(cases: Sequence[CaseRow], metric: str, policy: str) -> NDArray[np.float64]:
    """One metric of each case under a policy; nan where the policy excludes the case."""
    return np.array([_value(case, metric, policy) for case in cases], dtype=np.float64)


def _value(case: CaseRow, metric: str, policy: str) -> float:
    value = float(case[metric])
    if policy == "penalty" and metric in DISTANCES and math.isnan(value):
        return 0.0 if _empty(case) == "both_empty" else float(case["diagonal_mm"])
    return value


def _empty(case: CaseRow) -> str | None:
    """Which mask of a case is empty, in the terms of `policy_cases`."""
    tp, fp, fn = (float(case[key]) for key in ("tp", "fp", "fn"))
    if tp + fp + fn == 0:
        return "both_empty"
    if tp + fp == 0:
        return "empty_prediction"
    return "empty_truth" if tp + fn == 0 else None


def policy_cases(cases: Sequence[CaseRow]) -> dict[str, int]:
    """Count the cases with an empty mask, by which mask is empty."""
    found = [_empty(case) for case in cases]
    return {name: found.count(name) for name in ("empty_prediction", "empty_truth", "both_empty")}


def _metric(cases: Sequence[CaseRow], name: str, policy: str, resamples: int) -> dict[str, Any]:
    """Statistics of one metric, and the reasons why cases are excluded."""
    numbers = values(cases, name, policy)
    excluded = [case for case, number in zip(cases, numbers, strict=True) if math.isnan(number)]
    kept = numbers[np.isfinite(numbers)]
    return {
        **_statistics(kept),
        "ci95": mean_interval(kept, resamples),
        "n_excluded": len(excluded),
        "excluded": {reason: n for reason, n in policy_cases(excluded).items() if n},
    }


def _statistics(kept: NDArray[np.float64]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and median; None where undefined."""
    return {
        "mean": float(kept.mean()) if kept.size else None,
        "std": float(kept.std(ddof=1)) if kept.size > 1 else None,
        "median": float(np.median(kept)) if kept.size else None,
        "n": kept.size,
    }


def mean_interval(kept: NDArray[np.float64], resamples: int = RESAMPLES) -> list[float] | None:
    """95 % percentile-bootstrap interval of the mean over cases; None for fewer than two."""
    if kept.size < 2:
        return None
    found = bootstrap((kept,), np.mean, n_resamples=resamples, method="percentile", rng=SEED)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def _stratum(cases: Sequence[CaseRow], name: str) -> dict[str, Any]:
    """One row of the volume-stratified table.

    Patients are binned by their total true lesion volume, lesions by their own volume; `n_lesions`
    and `lesion_dice` (the mean over all lesions of the bin) cover all patients.
    """
    inside = [case for case in cases if _patient_bin(case) == name]
    row: dict[str, Any] = {"bin": name, "n_cases": len(inside)}
    row |= {m: _statistics(values(inside, m, "paper")) for m in STRATIFIED}
    if name in BINS:
        counts = np.array([int(case[f"lesions_{name}"]) for case in cases])
        dice = np.array([float(case[f"lesion_dice_{name}"]) for case in cases])
        total = int(counts.sum())
        mean = float(np.dot(counts[counts > 0], dice[counts > 0])) / total if total else None
        row |= {"n_lesions": total, "lesion_dice": mean}
    return row


def _of_size(cases: Sequence[CaseRow], name: str) -> dict[str, Any]:
    """Mean F1, precision and recall over cases for the lesions of one size class.

    A case without true or predicted lesions of the class has 1, as in the authors' code.
    """
    figures = ("lesion_f1", "lesion_precision", "lesion_recall")
    found = {m: np.array([float(c.get(f"{m}_{name}", math.nan)) for c in cases]) for m in figures}
    return {"size": name} | {m: _statistics(v[np.isfinite(v)]) for m, v in found.items()}


def _patient_bin(case: CaseRow) -> str:
    ml = float(case["truth_ml"])
    return volume_bin(ml) if ml > 0 else "lesion_free"


def _dice_global(cases: Sequence[CaseRow]) -> float | None:
    """DSC(global): TP, FP and FN pooled over all voxels of all cases; 1 if all masks are empty."""
    if not cases:
        return None
    tp, fp, fn = (sum(float(case[key]) for case in cases) for key in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
