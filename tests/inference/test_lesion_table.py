import numpy as np

from stroke_nets.inference.lesion_table import COLUMNS, as_csv, lesion_rows
from stroke_nets.scans.geometry import Grid

# Axes run to the front, left and up; voxels of 2 x 1 x 3 mm, so 0.006 ml each.
AFFINE = np.array([[0, -1, 0, 10], [2, 0, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1.0]])
SHAPE = (20, 21, 8)


def shifted(places):
    return places + np.array([[1.0], [2.0], [3.0]])


def test_each_component_is_measured_by_hand():
    mask = np.zeros(SHAPE, bool)
    mask[4:6, 14:17, 2:4] = True  # 12 voxels, x from -4 to -6, y -12 and -10, z 6 and 9
    mask[10, 0, 5] = True  # x 10, y 0, z 15, at the border
    chance = np.where(mask, 0.6, 0.1)
    chance[10, 0, 5] = 0.9
    rows = lesion_rows(mask, Grid(SHAPE, AFFINE), shifted, chance, 0.5 * chance)
    large, small = rows
    assert [*large] == [*COLUMNS]
    assert (large["lesion"], large["voxels"], large["volume_ml"]) == (1, 12, 0.072)
    assert [large[f"{axis}_mm"] for axis in "xyz"] == [-4.0, -9.0, 10.5]
    assert [large[f"extent_{axis}_mm"] for axis in "xyz"] == [3.0, 4.0, 6.0]
    assert (large["hemisphere"], large["touches_border"]) == ("left", False)
    assert (large["mean_probability"], large["mean_uncertainty"]) == (0.6, 0.3)
    assert (small["hemisphere"], small["touches_border"]) == ("right", True)
    assert (small["mean_probability"], small["volume_ml"]) == (0.9, 0.006)


def test_a_lesion_across_the_midline_is_of_both_hemispheres():
    mask = np.zeros(SHAPE, bool)
    mask[5, 8:14, 3] = True  # x from 3 to -2, with the shift
    (row,) = lesion_rows(mask, Grid(SHAPE, AFFINE), shifted, mask.astype(float))
    assert row["hemisphere"] == "both"
    assert row["mean_uncertainty"] is None


def test_no_lesion_leaves_the_header():
    mask = np.zeros(SHAPE, bool)
    assert lesion_rows(mask, Grid(SHAPE, AFFINE), shifted, mask.astype(float)) == []
    assert as_csv([]) == ",".join(COLUMNS) + "\n"
