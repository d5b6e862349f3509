"""From probabilities to a mask."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from stroke_nets.errors import DataError
from stroke_nets.transforms.lesion_mask import LesionMaskd
from stroke_nets.transforms.mapping_mask import mapping_mask

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two_lesions():
    """2 voxels of at most 0.6 and 8 of at most 0.9, of 8 cubic millimetres each."""
    probability = torch.full((1, 6, 6, 6), 0.1)
    probability[0, 0, 0, :2] = torch.tensor([0.5, 0.6])
    probability[0, 3:5, 3:5, 3:5] = 0.55
    probability[0, 3, 3, 3] = 0.9
    return MetaTensor(probability, affine=torch.diag(torch.tensor([-2.0, 2, 2, 1])))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, 10),
        ({"threshold": 0.6}, 2),
        ({"minimum_ml": 0.016}, 10),
        ({"minimum_ml": 0.017}, 8),
        ({"minimum_ml": 0.065}, 0),
        ({"doubtful_voxels": 2, "doubtful_below": 0.6}, 10),
        ({"doubtful_voxels": 2, "doubtful_below": 0.61}, 8),
        ({"doubtful_voxels": 1, "doubtful_below": 0.99}, 10),
        ({"doubtful_voxels": 8, "doubtful_below": 0.99}, 0),
    ],
)
def test_voxels_that_are_left(two_lesions, options, left):
    mask = LesionMaskd("pred", **options)({"pred": two_lesions})["pred"]
    assert mask.sum() == left
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert (mask.dtype, mask.shape) == (two_lesions.dtype, two_lesions.shape)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf, -torch.inf])
def test_probabilities_that_are_not_finite_are_no_empty_mask(two_lesions, damage):
    two_lesions[0, 5, 5, 5] = damage
    with pytest.raises(DataError, match="pred: probabilities are not finite"):
        LesionMaskd("pred")({"pred": two_lesions})


def line(*lesions, length=40, rest=0.0, repeat=1):
    """A volume whose first line holds the lesions' probabilities, with gaps between."""
    volume = np.full((repeat, 3, length), rest)
    start = 0
    for lesion in lesions:
        volume[:, 0, start : start + len(lesion)] = lesion
        start += len(lesion) + 1
    return volume


def found(volume):
    return mapping_mask(volume)[0, 0].astype(int).tolist()


def test_mapping_drops_a_lesion_without_a_sure_voxel_where_there_are_few():
    assert found(line([0.6, 0.8, 0.4], [0.6, 0.65], length=7)) == [1, 1, 0, 0, 0, 0, 0]


def test_mapping_drops_the_smallest_of_more_than_four_parts():
    lesions = [[0.6, 0.8, 0.8], [0.8, 0.8, 0.6], [0.6, 0.9], [0.8, 0.8, 0.6], [0.8, 0.8, 0.6]]
    expected = [1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1]
    assert found(line(*lesions, length=18)) == expected


def test_mapping_keeps_what_is_nearly_as_high_where_nothing_is_sure():
    assert found(line([0.3, 0.65, 0.6, 0.5], length=4)) == [0, 1, 1, 0]


def test_mapping_reaches_lower_where_all_is_sure():
    assert found(line([0.4, 0.8, 0.2], [0.4], length=5)) == [1, 1, 0, 0, 0]


def test_mapping_cuts_a_lesion_of_several_parts_down_where_there_are_many():
    lesions = [[0.6, 0.52, 0.6], [0.52, 0.6, 0.3], [0.52]]
    volume = line(*lesions, length=10, repeat=1000)  # 6000 voxels above 0.5
    assert found(volume) == [1, 0, 1, 0, 1, 1, 0, 0, 1, 0]


def test_the_sweep_finds_the_pair_that_drops_a_false_lesion(two_lesions):
    """The lesion of 2 voxels, of at most 0.6, is false; the one of 8 voxels, of 0.9, is true."""
    sweep = runpy.run_path(str(ROOT / "examples" / "sweep_postprocessing.py"))["sweep"]
    probability, affine = two_lesions[0].numpy(), two_lesions.affine.numpy()
    truth = probability > 0.5
    truth[0] = False
    table = sweep([(probability, truth, affine)])
    best, plain = table.iloc[0], table[table["voxels"] == 0].iloc[0]
    assert (best["lesion_f1"], plain["lesion_f1"]) == (1.0, pytest.approx(2 / 3))
    assert best["voxels"] >= 2
    assert 0.6 < best["below"] <= 0.9
