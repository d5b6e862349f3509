import json
import math
import statistics

import numpy as np
import pytest

from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.summary import METRICS, summarize, values


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
        "ci95": [pytest.approx(2 / 5), pytest.approx(1.0)],  # of 27 equally likely resamples, each
        "n": 3,  # extreme one has 1 / 27 > 2.5 %
        "n_excluded": 0,
        "excluded": {},
    }


def test_interval_is_the_bootstraps_and_does_not_change():
    """With many cases the percentile bootstrap meets the normal interval of the mean."""
    cases = [case((0, stop), (0, 10)) for stop in range(1, 11) for _ in range(20)]
    dice = summarize(cases)["metrics"]["dice"]
    half = 1.96 * dice["std"] / math.sqrt(dice["n"])
    low, high = dice["ci95"]
    # 2000 resamples place an end within about 5 % of the half width (standard error of a quantile)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert summarize(cases)["metrics"]["dice"]["ci95"] == [low, high]


def test_global_dice_pools_voxels():
    summary = summarize([case((0, 8), (0, 8)), case((4, 5), (5, 6))])
    assert summary["dice_global"] == pytest.approx(2 * 8 / (2 * 8 + 1 + 1))
    assert summary["metrics"]["dice"]["mean"] == 0.5


POLICY_CASES = [
    case((0, 4), (0, 4)),
    case(EMPTY, (0, 4)),
    case((0, 4), EMPTY),
    case(EMPTY, EMPTY),
]


@pytest.mark.parametrize("policy", ["paper", "penalty"])
def test_every_policy_counts_and_leaves_the_overlap_alone(policy):
    summary = summarize(POLICY_CASES, policy)
    assert summary["policy"] == policy
    assert summary["policy_cases"] == {"empty_prediction": 1, "empty_truth": 1, "both_empty": 1}
    for name in ("dice", "recall", "precision"):
        found = summary["metrics"][name]
        assert (found["mean"], found["n"], found["n_excluded"]) == (2 / 4, 4, 0)


def test_I4_paper_policy_excludes_undefined_distances_and_says_why():
    for name in ("asd", "hd95"):
        found = summarize(POLICY_CASES, "paper")["metrics"][name]
        assert (found["mean"], found["n"], found["n_excluded"]) == (0, 1, 3)
        assert found["excluded"] == {"empty_prediction": 1, "empty_truth": 1, "both_empty": 1}


def test_I4_a_total_miss_beside_a_perfect_case_is_not_a_distance_of_zero():
    diagonal = math.sqrt(10**2 + 1 + 1)
    for name in ("asd", "hd95"):
        assert list(values(POLICY_CASES, name, "penalty")) == [0, diagonal, diagonal, 0]
        found = summarize(POLICY_CASES[:2], "penalty")["metrics"][name]
        assert (found["mean"], found["n_excluded"]) == (diagonal / 2, 0)


def test_unknown_policy():
    with pytest.raises(ValueError, match="choose one of paper, penalty"):
        summarize(POLICY_CASES, "generous")


def test_strata_hold_patients_by_total_and_lesions_by_their_own_volume():
    cases = [
        case((0, 1), (0, 1), side=4.0),  # 0.064 ml, perfect
        case((0, 2), (0, 4), side=10.0),  # 4 ml, Dice 2 / 3
        case((0, 1), EMPTY),
    ]
    rows = {row["bin"]: row for row in summarize(cases)["by_volume"]}
    filled = {name: row["n_cases"] for name, row in rows.items() if row["n_cases"]}
    assert filled == {"lesion_free": 1, "below_0.1_ml": 1, "1_to_10_ml": 1}
    assert rows["1_to_10_ml"]["dice"]["mean"] == rows["1_to_10_ml"]["lesion_dice"] == 2 / 3
    assert rows["below_0.1_ml"]["n_lesions"] == 1
    assert rows["100_ml_and_above"]["lesion_dice"] is None
    assert rows["lesion_free"]["dice"]["mean"] == 0


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
    asd = summary["metrics"]["asd"]
    assert [asd[key] for key in ("mean", "std", "median", "ci95")] == [None] * 4
    assert (asd["n"], asd["n_excluded"]) == (0, len(cases))
    assert sum(asd["excluded"].values()) == len(cases)


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
