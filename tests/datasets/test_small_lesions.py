import numpy as np
import pytest

from stroke_nets.datasets.small_lesions import is_small_in_parts, is_small_in_total


def test_total():
    assert is_small_in_total({"lesion_voxels": 999})
    assert not is_small_in_total({"lesion_voxels": 1000})


@pytest.mark.parametrize(("size", "small"), [(0, True), (1000, True), (1001, False)])
def test_parts(size, small):
    mask = np.zeros((3, 2, 1500), np.uint8)
    mask[0, 0, :900] = 255
    mask[2, 1, :size] = 1
    assert is_small_in_parts(mask) is small


def test_parts_that_touch_by_an_edge_are_two():
    mask = np.zeros((2, 2, 3))
    mask[0, 0] = mask[1, 1] = 0.5
    assert is_small_in_parts(mask, limit=3)
    mask[0, 1] = 1
    assert not is_small_in_parts(mask, limit=3)
