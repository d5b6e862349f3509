"""The figures of a set of cases, as the paper's tables print them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Empty prediction: DSC 0; what is undefined is left out of the means and counted (AGMR-Net).
# `case.case_metrics` has the table.
POLICY = "paper"
METRICS = (
    "dice",
    "recall",
    "precision",
    "asd",
    "hd95",
    "truth_ml",
    "predicted_ml",
    "lesions_truth",
    "lesions_predicted",
)


def summarize(cases: Sequence[Mapping[str, Any]], min_ml: float = 1.0) -> dict[str, Any]:
    """Summarize the figures of `case.case_metrics` over cases.

    Args:
        cases: one mapping per case; keys besides those of `case_metrics` are ignored.
        min_ml: lesion volume in ml that `dice_above_1ml` asks a case to exceed.

    Returns:
        A dictionary that JSON can hold (None where there is no number): `policy`, `n_cases`,
        `metrics` (per metric `mean`, `std` with ddof 1, `median`, `n`, `n_excluded`),
        `dice_global` (from voxel counts pooled over the cases), `policy_cases` (how often an empty
        mask decided) and `dice_above_1ml` (`mean`, `n`, `min_ml`).
    """
    large = [case["dice"] for case in cases if float(case["truth_ml"]) > min_ml]
    above = _statistics(large)
    return {
        "policy": POLICY,
        "n_cases": len(cases),
        "metrics": {name: _statistics([case[name] for case in cases]) for name in METRICS},
        "dice_global": _dice_global(cases),
        "policy_cases": _policy_cases(cases),
        "dice_above_1ml": {"mean": above["mean"], "n": above["n"], "min_ml": min_ml},
    }


def _statistics(values: Sequence[Any]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and median of the finite values; None where undefined."""
    numbers = np.array(values, dtype=np.float64)
    kept = numbers[np.isfinite(numbers)]
    return {
        "mean": float(kept.mean()) if kept.size else None,
        "std": float(kept.std(ddof=1)) if kept.size > 1 else None,
        "median": float(np.median(kept)) if kept.size else None,
        "n": kept.size,
        "n_excluded": numbers.size - kept.size,
    }


def _dice_global(cases: Sequence[Mapping[str, Any]]) -> float | None:
    """DSC(global): TP, FP and FN pooled over all voxels of all cases; 1 if all masks are empty."""
    if not cases:
        return None
    tp, fp, fn = (sum(int(case[key]) for case in cases) for key in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


def _policy_cases(cases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the cases in which an empty mask decided the figures."""
    counts = [[int(case[key]) for key in ("tp", "fp", "fn")] for case in cases]
    return {
        "empty_prediction": sum(tp + fp == 0 < fn for tp, fp, fn in counts),
        "lesion_free_truth": sum(tp + fn == 0 for tp, _, fn in counts),
        "lesion_free_truth_false_positives": sum(tp + fn == 0 < fp for tp, fp, fn in counts),
    }
