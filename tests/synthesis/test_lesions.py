import numpy as np
import pytest

from stroke_nets.synthesis.lesions import draw_volumes, lesion_weight
from stroke_nets.synthesis.territories import LEFT, RIGHT, TERRITORIES, label_territories


def test_drawn_design():
    rng = np.random.default_rng(0)
    drawn = [draw_volumes(rng) for _ in range(2000)]
    counts = np.bincount([len(volumes) for volumes in drawn]) / len(drawn)
    totals = [sum(volumes) for volumes in drawn if volumes]
    assert counts[0] == pytest.approx(0.15, abs=0.03)
    assert counts[2:].sum() == pytest.approx(0.25, abs=0.03)
    assert len(counts) == 5
    assert np.median(totals) == pytest.approx(10_000, rel=0.15)
    assert min(min(volumes) for volumes in drawn if volumes) >= 13
    assert max(totals) <= 200_000


@pytest.mark.parametrize("voxels", [13, 4000, 60_000])
def test_lesion_reaches_its_volume_in_the_allowed_region(voxels):
    allowed = np.zeros((80, 80, 80), bool)
    allowed[4:76, 4:76, 4:60] = True
    box, weight = lesion_weight(np.random.default_rng(1), voxels, allowed)
    assert (weight > 0.5).sum() == voxels
    assert not weight[~allowed[box]].any()
    assert weight.max() <= 1


def test_lesion_fills_its_territory_before_it_leaves_it():
    allowed = np.zeros((60, 60, 60), bool)
    allowed[2:58, 2:58, 2:58] = True
    home = np.zeros_like(allowed)
    home[2:58, 2:30, 2:58] = True
    box, weight = lesion_weight(np.random.default_rng(0), 3000, allowed, home)
    lesion = weight > 0.5
    assert lesion.sum() == 3000
    assert (lesion & home[box]).sum() > 0.9 * 3000  # half of a ball at the border would be outside


def test_territories_mirror_each_other():
    place = np.array([[40.0, -20, 10], [5, -30, -35], [20, -90, 0]]).T
    right = label_territories(place)
    left = label_territories(place * [[-1], [1], [1]])
    np.testing.assert_array_equal(right.astype(int) - RIGHT, left.astype(int) - LEFT)
    names = [TERRITORIES[label - RIGHT].name for label in right]
    assert names == ["middle cerebral, cortex", "brainstem", "posterior cerebral"]


def test_shares_of_territories_are_probabilities():
    assert sum(territory.share for territory in TERRITORIES) == pytest.approx(1)
