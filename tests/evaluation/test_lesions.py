import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.lesions import EDGES_VOXELS, SIZES, volume_bin
from stroke_nets.evaluation.summary import summarize

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "mscsa" / "vec_metrics.npz")


def case(*bars):
    """A mask with bars along x, given as (start, stop, y)."""
    mask = np.zeros((20, 9, 3), bool)
    for start, stop, y in bars:
        mask[start:stop, y, 1] = True
    return mask


@pytest.mark.parametrize("index", range(7))
def test_published_evaluation_code(index):
    found = case_metrics(
        REFERENCE[f"{index}/pred"], REFERENCE[f"{index}/truth"], (10, 10, 10), connectivity=6
    )
    names = ("lesion_f1", "lesion_precision", "lesion_recall")
    np.testing.assert_allclose([found[n] for n in names], REFERENCE[f"{index}/f1_prec_rec"])
    assert found["dice"] == pytest.approx(float(REFERENCE[f"{index}/dice"]))
    assert found["lesion_count_difference"] == REFERENCE[f"{index}/count"]
    assert found["volume_difference_ml"] == pytest.approx(float(REFERENCE[f"{index}/vol"]))


def components(mask, connectivity):
    """Sets of voxels, grown one neighbour at a time."""
    reach = {6: 1, 18: 2, 26: 3}[connectivity]
    rest = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    found = []
    while rest:
        grown, front = set(), [rest.pop()]
        while front:
            voxel = front.pop()
            grown.add(voxel)
            near = {
                other
                for other in rest
                if max(d := [abs(a - b) for a, b in zip(voxel, other, strict=True)]) <= 1
                and sum(d) <= reach
            }
            rest -= near
            front += near
        found.append(grown)
    return found


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("seed", range(12))
def test_brute_force(seed, connectivity):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 6, 5, 7)) < rng.uniform(0.02, 0.4, (2, 1, 1, 1))
    found = case_metrics(prediction, truth, (5, 5, 5), connectivity)
    lesions, guesses = components(truth, connectivity), components(prediction, connectivity)
    hit = sum(any(lesion & guess for guess in guesses) for lesion in lesions)
    true = sum(any(lesion & guess for lesion in lesions) for guess in guesses)
    dice = []
    for lesion in lesions:
        against = set().union(*(guess for guess in guesses if guess & lesion))
        dice.append(2 * len(lesion & against) / (len(lesion) + len(against)))
    assert (found["lesions_truth"], found["lesions_predicted"]) == (len(lesions), len(guesses))
    assert found["lesion_recall"] == (hit / len(lesions) if lesions else 1)
    assert found["lesion_precision"] == (true / len(guesses) if guesses else 1)
    false = len(lesions) - hit + len(guesses) - true
    assert found["lesion_f1"] == (hit / (hit + false / 2) if lesions or guesses else 1)
    assert found["largest_lesion_voxels"] == max(map(len, lesions), default=0)
    # voxels of 0.125 ml: no lesion is below 0.1 ml
    binned = [volume_bin(0.125 * len(lesion)) for lesion in lesions]
    for name in ("0.1_to_1_ml", "1_to_10_ml", "10_to_100_ml"):
        inside = [d for d, b in zip(dice, binned, strict=True) if b == name]
        assert found[f"lesions_{name}"] == len(inside)
        mean = np.mean(inside) if inside else math.nan
        assert found[f"lesion_dice_{name}"] == pytest.approx(mean, nan_ok=True)


def test_one_prediction_over_two_lesions_finds_both():
    found = case_metrics(case((0, 9, 4)), case((0, 3, 4), (5, 9, 4)), (1, 1, 1))
    assert (found["lesion_f1"], found["lesion_precision"], found["lesion_recall"]) == (1, 1, 1)
    assert found["lesion_dice_below_0.1_ml"] == pytest.approx((6 / 12 + 8 / 13) / 2)


def test_f1_is_not_the_harmonic_mean():
    truth = case((0, 2, 1), (4, 6, 1))
    prediction = case((0, 5, 1), (10, 12, 1))  # one guess over both lesions, one false
    found = case_metrics(prediction, truth, (1, 1, 1))
    assert (found["lesion_precision"], found["lesion_recall"]) == (1 / 2, 1)
    assert found["lesion_f1"] == pytest.approx(2 / 2.5)
    assert 2 / (1 / found["lesion_precision"] + 1) != pytest.approx(found["lesion_f1"])


def test_volumes_at_the_edge_belong_to_the_bin_above():
    assert [volume_bin(ml) for ml in (0.099, 0.1, 1.0, 10.0, 100.0)] == [
        "below_0.1_ml",
        "0.1_to_1_ml",
        "1_to_10_ml",
        "10_to_100_ml",
        "100_ml_and_above",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_figures_do_not_depend_on_memory_order_or_surroundings(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = ndimage.gaussian_filter(rng.random((2, 14, 12, 10)), (0, 1, 1, 1)) > 0.53
    expected = case_metrics(prediction, truth, (1, 2, 3)) | {"diagonal_mm": 0}
    wide = [np.asfortranarray(np.pad(m, ((7, 1), (0, 9), (3, 3)))) for m in (prediction, truth)]
    found = case_metrics(*wide, (1, 2, 3)) | {"diagonal_mm": 0}
    assert found == pytest.approx(expected, nan_ok=True)


def by_size_as_published(predicted, truth):
    """The authors' scoring.py in words: each lesion counts in the class of its own volume."""
    counts = {name: dict.fromkeys(("tp", "fn", "fp", "tp_pred"), 0) for name in SIZES}
    for mask, other, hit, miss in (
        (truth, predicted, "tp", "fn"),
        (predicted, truth, "tp_pred", "fp"),
    ):
        labels, number = ndimage.label(mask)
        for index in range(1, number + 1):
            lesion = labels == index
            name = SIZES[sum(lesion.sum() >= edge for edge in EDGES_VOXELS)]
            counts[name][hit if (lesion & other).any() else miss] += 1
    figures = {}
    for name, n in counts.items():
        tp, fn, fp, tp_pred = n["tp"], n["fn"], n["fp"], n["tp_pred"]
        figures[f"lesion_f1_{name}"] = tp / (tp + (fp + fn) / 2) if tp + fp + fn else 1.0
        figures[f"lesion_precision_{name}"] = tp_pred / (tp_pred + fp) if tp_pred + fp else 1.0
        figures[f"lesion_recall_{name}"] = tp / (tp + fn) if tp + fn else 1.0
    return figures


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_each_size_class(seed):
    """Random boxes from a few to over 10,000 voxels, some predicted and some not."""
    rng = np.random.default_rng(seed)
    truth, predicted = np.zeros((2, 60, 60, 60), bool)
    for side in (24, 12, 6, 3, 2, 2):
        for mask in (truth, predicted):
            if rng.random() < 0.8:
                x, y, z = rng.integers(0, 60 - side, 3)
                mask[x : x + side, y : y + side, z : z + side] = True
    found = case_metrics(predicted, truth, (1, 1, 1))
    expected = by_size_as_published(predicted, truth)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    row = summarize([found, found], resamples=10)["by_size"][0]
    assert row["size"] == "below_100"
    assert row["lesion_f1"]["mean"] == pytest.approx(expected["lesion_f1_below_100"])
