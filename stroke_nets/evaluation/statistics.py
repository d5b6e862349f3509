"""Paired tests between two methods on the same patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

TESTS = {"wilcoxon": "Wilcoxon signed-rank", "t": "paired t"}


def paired_tests(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> dict[str, float | None]:
    """Two-sided Wilcoxon signed-rank and paired t-test on the cases that both methods have.

    Args:
        ours: value of each case.
        theirs: value of each case for the other method.

    Returns:
        The number of pairs `n` and the p-values `wilcoxon` and `t`: 1 if no pair differs, None for
        fewer than two pairs and, for t, if all pairs differ by the same amount.
    """
    pairs = [(ours[case], theirs[case]) for case in ours if case in theirs]
    differences = np.array([a - b for a, b in pairs], dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    found: dict[str, float | None] = {"n": differences.size, "wilcoxon": None, "t": None}
    if differences.size < 2:
        return found
    if not differences.any():
        return found | {"wilcoxon": 1.0, "t": 1.0}
    found["wilcoxon"] = float(stats.wilcoxon(differences).pvalue)
    if np.ptp(differences) > 0:
        found["t"] = float(stats.ttest_1samp(differences, 0).pvalue)
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over the p-values of one table; None stays None.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    ranked = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        corrected[index] = largest
    return corrected
