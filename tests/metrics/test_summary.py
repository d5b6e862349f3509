import json
import math
import statistics

import numpy as np
import pytest

from stroke_nets.metrics.case import case_metrics
from stroke_nets.metrics.summary import METRICS, POLICY, summarize


def case(predicted, true, side=1.0):
    """Figures of two bars along x, given as (start, stop), in cubic voxels of `side` mm."""
    prediction, truth = np.zeros((2, 10, 1, 1), bool)
    prediction[slice(*predicted)] = True
    truth[slice(*true)] = True
    return case_metrics(prediction, truth, (side, side, side))


EMPTY = (0, 0)


def test_mean_sample_std_and_median():
    cases = [case((0, 4), (0, 4)), case((0, 2), (0, 4)), case((0, 1), (0, 4))]
    dice = [1.0, 2 / 3, 2 / 5]
    found = summarize(cases)["metrics"]["dice"]
    assert found == {
        "mean": pytest.approx(statistics.mean(dice)),
        "std": pytest.approx(statistics.stdev(dice)),
        "median": pytest.approx(2 / 3),
        "n": 3,
        "n_excluded": 0,
    }


def test_global_dice_pools_voxels():
    summary = summarize([case((0, 8), (0, 8)), case((4, 5), (5, 6))])
    assert summary["dice_global"] == pytest.approx(2 * 8 / (2 * 8 + 1 + 1))
    assert summary["metrics"]["dice"]["mean"] == 0.5


def test_policy_cases_are_counted_and_undefined_figures_excluded():
    cases = [
        case((0, 4), (0, 4)),
        case(EMPTY, (0, 4)),
        case((0, 4), EMPTY),
        case(EMPTY, EMPTY),
    ]
    summary = summarize(cases)
    assert summary["policy"] == POLICY == "paper"
    assert summary["policy_cases"] == {
        "empty_prediction": 1,
        "lesion_free_truth": 2,
        "lesion_free_truth_false_positives": 1,
    }
    metrics = summary["metrics"]
    assert metrics["dice"]["mean"] == statistics.mean([1, 0, 0, 1])
    assert (metrics["dice"]["n"], metrics["dice"]["n_excluded"]) == (4, 0)
    for surface in ("asd", "hd95"):
        assert (metrics[surface]["n"], metrics[surface]["n_excluded"]) == (1, 3)
    assert (metrics["recall"]["mean"], metrics["recall"]["n_excluded"]) == (2 / 4, 0)
    assert (metrics["precision"]["mean"], metrics["precision"]["n_excluded"]) == (2 / 4, 0)


def test_large_lesions_exceed_the_limit():
    cases = [
        case((0, 1), (0, 1), side=10.0),  # exactly 1 ml: does not exceed it
        case((0, 2), (1, 3), side=10.0),
        case((0, 1), (0, 4), side=10.0),
        case((0, 9), (0, 9), side=1.0),
    ]
    above = summarize(cases)["dice_above_1ml"]
    assert above == {"mean": pytest.approx((0.5 + 0.4) / 2), "n": 2, "min_ml": 1.0}
    assert summarize(cases, min_ml=3.0)["dice_above_1ml"]["n"] == 1
    assert summarize(cases, min_ml=99.0)["dice_above_1ml"]["mean"] is None


@pytest.mark.parametrize("cases", [[], [case(EMPTY, (0, 4))], [case(EMPTY, EMPTY)] * 2])
def test_summary_is_json_without_nan(cases):
    summary = summarize(cases)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["n_cases"] == len(cases)
    assert set(summary["metrics"]) == set(METRICS)
    assert summary["metrics"]["asd"] == {
        "mean": None,
        "std": None,
        "median": None,
        "n": 0,
        "n_excluded": len(cases),
    }


def test_one_case_has_no_spread():
    assert summarize([case((0, 4), (0, 4))])["metrics"]["dice"]["std"] is None


def test_global_dice_of_nothing():
    assert summarize([])["dice_global"] is None
    assert summarize([case(EMPTY, EMPTY)])["dice_global"] == 1


def test_other_columns_and_text_are_taken_as_a_csv_gives_them():
    figures = {key: str(value) for key, value in case((0, 2), (0, 4)).items()}
    figures |= {"subject": "sub-1", "asd": str(math.nan)}
    metrics = summarize([figures])["metrics"]
    assert metrics["dice"]["mean"] == pytest.approx(2 / 3)
    assert metrics["asd"]["n_excluded"] == 1
