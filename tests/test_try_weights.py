"""What ``examples/try_weights.py`` makes of its measurements."""

import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def program():
    return runpy.run_path(str(ROOT / "examples" / "try_weights.py"))


@pytest.fixture(scope="module")
def ratios(program):
    return program["volume_ratios"]


def test_healthy_brains_count_only_where_they_were_marked(ratios):
    healthy = [(0.0, 12.0)] * 10
    ill = [(20.0 + k, 20.0) for k in range(9)]  # 1 to 1.4 times what was found
    large = [(40.0 + 2 * k, 40.0) for k in range(19)]
    small, bigger = ratios([*healthy, *ill, *large])
    assert small == {"from_ml": 10.0, "patients": 19, "ratio": [0.0, 1.4]}
    assert bigger == {"from_ml": 30.0, "patients": 19, "ratio": [1.0, 1.9]}  # all of the 19


def test_a_class_of_few_patients_is_joined_with_the_one_below(ratios):
    few = [(200.0, 200.0)] * 3
    (one,) = ratios([*few, *[(30.0, 40.0)] * 17])
    assert one == {"from_ml": 30.0, "patients": 20, "ratio": [0.75, 1.0]}
    assert ratios(few) == []


def test_calibration_is_of_the_voxels_that_may_be_lesion(program):
    probability = np.array([0.05] * 50 + [0.25] * 4 + [0.95] * 4, np.float32)
    truth = np.array([True] * 50 + [True, False, False, False] + [True, True, False, False])
    voxels, mean, share = program["reliability"]([(None, probability, truth)])
    assert voxels.tolist() == [0, 4, 0, 0, 0, 0, 0, 0, 4]
    np.testing.assert_allclose(share[[1, 8]], [0.25, 0.5])
    np.testing.assert_allclose(mean[[1, 8]], [0.25, 0.95], rtol=1e-6)  # float32
    error = program["calibration_error"]([(None, probability, truth)])
    assert error == pytest.approx(0.225)  # half of 0, half of 0.45


def test_of_thresholds_that_are_alike_the_nearest_to_a_half_is_chosen(program):
    lesion = np.zeros((20, 20, 20), bool)
    lesion[:10, :10, :10] = True  # 8 ml
    probability = np.where(lesion, np.float32(0.99), np.float32(0))
    assert program["choose"]([(None, probability, lesion)] * 5) == (0.5, 0.05)
    speckled = probability.copy()
    speckled[12:18, 12:18, 12:18] = 0.65  # 1.7 ml of nothing: above it by far
    assert program["choose"]([(None, speckled, lesion)] * 5) == (0.7, 0.05)


@pytest.mark.parametrize(("dots", "volume"), [(1, 0.05), (2, 0.1)])
def test_the_smallest_volume_with_few_false_lesions_is_chosen(program, dots, volume):
    lesion = np.zeros((20, 20, 20), bool)
    lesion[:10, :10, :10] = True
    false, true = lesion.copy(), lesion.copy()
    false[12 : 12 + 2 * dots : 2, 15, 12:19] = True  # 0.056 ml each
    true[12, 15, 12:19] = True
    cases = [(None, 0.99 * false, lesion), (None, 0.99 * true, true)]  # what one gains, one loses
    assert program["choose"](cases) == (0.5, volume)


def test_probabilities_are_calibrated_by_a_slope_and_an_offset(program):
    generator = np.random.default_rng(0)
    own = generator.normal(-1, 3, (40, 40, 40)).astype(np.float32)  # logits
    probability = (1 / (1 + np.exp(-own))).astype(np.float32)
    image = np.ones_like(own)
    image[20:] = 0  # outside the brain, where everything is lesion: it must not count
    lesion = generator.random(own.shape) < 1 / (1 + np.exp(1 - own / 2))
    lesion[20:] = True
    line = program["fit_calibration"]([(image, probability, lesion)])
    # standard errors of a logistic regression on 32,000 voxels: 0.007 and 0.015; here three of them
    assert line["slope"] == pytest.approx(0.5, abs=0.02)
    assert line["offset"] == pytest.approx(-1, abs=0.05)
    found = program["calibrate"](np.float32([0.5, 0, 1]), 0.5, -1.0)
    np.testing.assert_allclose(found[0], 1 / (1 + np.e), rtol=1e-6)  # float32
    assert 0 < found[1] < 0.001
    assert 0.999 < found[2] < 1


def test_calibration_leaves_the_mask(program):
    generator = np.random.default_rng(1)
    probability = generator.random((20, 20, 20)).astype(np.float32)
    lesion = generator.random((20, 20, 20)) < probability**2
    cases = [(np.ones_like(probability), probability, lesion)] * 5
    (threshold, _), found = program["choose"](cases), program["chosen"](cases)
    same = program["calibrate"](probability, **found["calibration"]) > found["threshold"]
    assert np.mean(same != (probability > threshold)) < 0.01  # hundredths of the threshold
