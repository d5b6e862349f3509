import pytest

from stroke_nets.evaluation.statistics import holm, paired_tests


def test_wilcoxon_worked_out_by_hand():
    """Five differences of one sign: only one of 2^5 sign patterns is as extreme on each side."""
    ours = {case: 0.1 * case for case in range(1, 6)}
    found = paired_tests(ours, dict.fromkeys(range(1, 6), 0.0))
    assert found["n"] == 5
    assert found["wilcoxon"] == pytest.approx(2 / 2**5)
    # t = mean 0.3 / (sd 0.1581 / sqrt 5) = 4.2426 with 4 degrees of freedom; R: 2 * pt(-t, 4)
    assert found["t"] == pytest.approx(0.01324, abs=1e-5)


def test_cases_are_paired_by_name_and_others_left_out():
    found = paired_tests({"a": 1, "b": 2, "c": 9}, {"b": 1, "a": 0, "d": 5, "c": float("nan")})
    assert found["n"] == 2


def test_methods_that_do_not_differ():
    assert paired_tests({1: 0.5, 2: 0.7}, {1: 0.5, 2: 0.7}) == {"n": 2, "wilcoxon": 1, "t": 1}


def test_no_t_without_spread():
    found = paired_tests({1: 0.5, 2: 0.5}, {1: 0.25, 2: 0.25})
    assert found["t"] is None
    assert found["wilcoxon"] == pytest.approx(2 / 2**2)


@pytest.mark.parametrize("cases", [{}, {1: 0.5}])
def test_too_few_pairs(cases):
    assert paired_tests(cases, {1: 0.1}) == {"n": len(cases), "wilcoxon": None, "t": None}


def test_holm_worked_out_by_hand():
    corrected = holm([0.01, None, 0.04, 0.03, 0.005])
    assert corrected == [
        pytest.approx(0.03),  # 0.01 * 3
        None,
        pytest.approx(0.06),  # 0.04 * 1, but not below the one before it
        pytest.approx(0.06),  # 0.03 * 2
        pytest.approx(0.02),  # 0.005 * 4
    ]
    assert holm([0.9, 0.8]) == [1, 1]
