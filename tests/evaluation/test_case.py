import math

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
)
from scipy import ndimage

from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.lesions import BINS, SIZES


def mask(*voxels, shape=(6, 6, 6)):
    volume = np.zeros(shape, bool)
    for voxel in voxels:
        volume[voxel] = True
    return volume


def blobs(seed, shape=(24, 20, 16)):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2, 2))
    return field[0] > field[0].std(), field[1] + field[0] > 1.3 * field[0].std()


def brute_force(prediction, truth, spacing):
    """ASD and HD95 from every pair of surface voxels, the surface found voxel by voxel."""

    def surface(volume):
        padded = np.pad(volume, 1)
        steps = [(axis, step) for axis in range(3) for step in (-1, 1)]
        inner = np.all([np.roll(padded, step, axis) for axis, step in steps], axis=0)
        return (np.argwhere(padded & ~inner)) * np.array(spacing)

    a, b = surface(prediction), surface(truth)
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    forth, back = pairs.min(1), pairs.min(0)
    asd = (forth.sum() + back.sum()) / (len(forth) + len(back))
    return asd, max(np.percentile(forth, 95), np.percentile(back, 95))


def test_figures_worked_out_by_hand():
    truth = mask((1, 1, 1), (1, 1, 2), (1, 1, 3), (4, 4, 4))
    prediction = mask((1, 1, 2), (1, 1, 3), (1, 1, 4))
    figures = case_metrics(prediction, truth, (1, 1, 1))
    binned = {name: figures.pop(name) for name in list(figures) if name.endswith(BINS)}
    sized = {name: figures.pop(name) for name in list(figures) if name.endswith(SIZES)}
    far = math.sqrt(3**2 + 3**2)  # from (4, 4, 4) to (1, 1, 4)
    assert figures == pytest.approx(
        {
            "tp": 2,
            "fp": 1,
            "fn": 2,
            "dice": 4 / 7,
            "recall": 2 / 4,
            "precision": 2 / 3,
            "asd": (0 + 0 + 1 + 1 + 0 + 0 + far) / 7,
            "hd95": 1 + 0.85 * (far - 1),  # position 0.95 * 3 = 2.85 among 0, 0, 1, far
            "lesion_f1": 1 / (1 + 1 / 2),
            "lesion_precision": 1,
            "lesion_recall": 1 / 2,
            "lesions_truth": 2,
            "lesions_predicted": 1,
            "lesion_count_difference": 1,
            "largest_lesion_voxels": 3,
            "truth_ml": 0.004,
            "predicted_ml": 0.003,
            "volume_difference_ml": 0.001,
            "diagonal_mm": 6 * math.sqrt(3),
        }
    )
    assert binned.pop("lesions_below_0.1_ml") == 2
    assert binned.pop("lesion_dice_below_0.1_ml") == pytest.approx((4 / 6 + 0) / 2)
    assert all(value == 0 or math.isnan(value) for value in binned.values())
    smallest = [sized.pop(f"lesion_{name}_below_100") for name in ("f1", "precision", "recall")]
    assert smallest == pytest.approx([2 / 3, 1, 1 / 2])  # both lesions are below 100 voxels
    assert set(sized.values()) == {1}  # no lesion of these sizes, and none found


def test_spacing_is_per_axis():
    for axis, side in enumerate((0.5, 2.0, 7.0)):
        other = [1, 1, 1]
        other[axis] = 3
        figures = case_metrics(mask((1, 1, 1)), mask(tuple(other)), (0.5, 2.0, 7.0))
        assert figures["asd"] == figures["hd95"] == pytest.approx(2 * side)
        assert figures["truth_ml"] == pytest.approx(0.007)


def test_nearest_point_depends_on_spacing():
    truth = mask((0, 0, 3), (4, 0, 0))  # three thick steps along z, or four thin ones along x
    figures = case_metrics(mask((0, 0, 0)), truth, (1.0, 1.0, 5.0))
    assert figures["asd"] == pytest.approx((4 + 15 + 4) / 3)


@pytest.mark.parametrize(
    ("prediction", "truth", "dice", "recall", "precision"),
    [
        (mask(), mask((2, 2, 2)), 0, 0, 0),
        (mask((2, 2, 2)), mask(), 0, 0, 0),
        (mask(), mask(), 1, 1, 1),
    ],
)
def test_I5_empty_masks(prediction, truth, dice, recall, precision):
    figures = case_metrics(prediction, truth, (1, 1, 1))
    found = [figures[name] for name in ("dice", "recall", "precision", "asd", "hd95")]
    expected = [dice, recall, precision, math.nan, math.nan]
    assert found == pytest.approx(expected, nan_ok=True)
    assert figures["lesions_truth"] == figures["fn"] == truth.sum()
    assert figures["lesions_predicted"] == figures["fp"] == prediction.sum()


def test_perfect_prediction():
    truth, _ = blobs(0)
    figures = case_metrics(truth, truth, (1, 2, 3))
    assert figures["dice"] == figures["recall"] == figures["precision"] == 1
    assert figures["asd"] == figures["hd95"] == figures["fp"] == figures["fn"] == 0


def test_counts_do_not_overflow_small_integers():
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[:8] = 1
    prediction = np.roll(truth, 2, axis=0)
    figures = case_metrics(prediction, truth, (1, 1, 1))
    assert (figures["tp"], figures["fp"], figures["fn"]) == (600, 200, 200)
    assert all(type(figures[key]) is int for key in ("tp", "fp", "fn", "lesions_truth"))
    assert figures["dice"] == 0.75
    assert figures["truth_ml"] == pytest.approx(0.8)


def test_any_nonzero_integer_is_lesion():
    truth = mask((1, 1, 1)).astype(np.uint8) * 2
    assert case_metrics(truth, truth > 0, (1, 1, 1))["dice"] == 1


def test_border_voxels_are_surface():
    truth = np.ones((3, 3, 3), bool)
    figures = case_metrics(mask((1, 1, 1), shape=(3, 3, 3)), truth, (1, 1, 1))
    faces, edges, corners = 6 * 1, 12 * math.sqrt(2), 8 * math.sqrt(3)
    assert figures["asd"] == pytest.approx((faces + edges + corners + 1) / 27)


@pytest.mark.parametrize(("connectivity", "count"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity(connectivity, count):
    diagonal = mask((0, 0, 0), (0, 1, 1), (1, 2, 2))
    assert case_metrics(diagonal, diagonal, (1, 1, 1), connectivity)["lesions_truth"] == count


# MONAI 1.6 calls itself with an argument that it has deprecated.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed):
    prediction, truth = blobs(seed)
    spacing = (0.9375, 1.0, 5.0) if seed % 2 else (1.0, 1.0, 1.0)
    figures = case_metrics(prediction, truth, spacing)
    one_hot = [torch.from_numpy(volume)[None, None].float() for volume in (prediction, truth)]
    options = {"include_background": True, "spacing": spacing}
    asd = compute_average_surface_distance(*one_hot, symmetric=True, **options).item()
    hd95 = compute_hausdorff_distance(*one_hot, percentile=95, directed=False, **options).item()
    dice = compute_dice(*one_hot).item()
    found = [figures[name] for name in ("dice", "asd", "hd95")]
    assert found == pytest.approx([dice, asd, hd95], rel=1e-6, abs=1e-6)  # MONAI's are float32


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 7, 6, 5)) < 0.5
    spacing = tuple(rng.uniform(0.5, 5, 3))
    figures = case_metrics(prediction, truth, spacing)
    expected = brute_force(prediction, truth, spacing)
    assert (figures["asd"], figures["hd95"]) == pytest.approx(expected)
    assert figures["tp"] + figures["fn"] == truth.sum()
    assert figures["tp"] + figures["fp"] == prediction.sum()


def test_swapping_the_masks_swaps_recall_and_precision():
    prediction, truth = blobs(5)
    forth = case_metrics(prediction, truth, (1, 1, 3))
    back = case_metrics(truth, prediction, (1, 1, 3))
    assert forth["recall"] == back["precision"]
    for symmetric in ("dice", "asd", "hd95"):
        assert forth[symmetric] == pytest.approx(back[symmetric])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": mask(shape=(6, 6, 5))}, "share one 3D shape"),
        ({"prediction": mask()[0], "truth": mask()[0]}, "share one 3D shape"),
        ({"prediction": mask().astype(np.float32)}, "threshold first"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"spacing": (1, 1, 0)}, "spacing"),
        ({"spacing": (1, 1, math.nan)}, "spacing"),
        ({"connectivity": 8}, "connectivities"),
    ],
)
def test_refuses(changes, message):
    arguments = {"prediction": mask(), "truth": mask(), "spacing": (1, 1, 1)}
    with pytest.raises(ValueError, match=message):
        case_metrics(**(arguments | changes))
