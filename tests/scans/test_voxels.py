"""Rows L1 to L9: intensities and label values, alike in training, inference and the check."""

import numpy as np
import pytest

from stroke_nets.errors import UsageError
from stroke_nets.scans.check import Rules, check, check_cases, require_fit
from stroke_nets.scans.finding import Refusal
from stroke_nets.scans.voxels import require_image, require_mask
from stroke_nets.transforms.load_scan import LoadScand

from .scans import mask, save, voxels


def image_refused(path, array, row, *words, **options):
    save(path, array)
    with pytest.raises(Refusal) as caught:
        LoadScand("image", reading=options)({"image": str(path)})
    assert caught.value.finding.row == row
    for word in (path.name, *words):
        assert word in str(caught.value)
    assert [f.row for f in check(path)] == [row]


def label_refused(folder, array, row, *words, **options):
    case = {
        "image": str(save(folder / "a.nii")),
        "label": str(save(folder / "a_mask.nii", array)),
    }
    with pytest.raises(Refusal) as caught:
        LoadScand(["image", "label"], reading=options)(case)
    assert caught.value.finding.row == row
    for word in ("a_mask.nii", *words):
        assert word in str(caught.value)
    assert [f.row for f in check_cases([case], Rules())] == [row]


@pytest.mark.parametrize(("value", "row"), [(np.nan, "L1"), (np.inf, "L2"), (-np.inf, "L2")])
def test_L1_L2_one_voxel_is_not_finite(tmp_path, value, row):
    array = voxels(dtype=np.float32)
    array[1, 2, 3] = value
    image_refused(tmp_path / "a.nii", array, row, "1 voxels", "nonfinite")
    loaded = LoadScand("image", reading={"nonfinite": 0.0})({"image": str(tmp_path / "a.nii")})[
        "image"
    ]
    require_fit([{"image": str(tmp_path / "a.nii")}], {"nonfinite": 0.0})
    array[1, 2, 3] = 0
    np.testing.assert_array_equal(loaded[0], array)


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.5])
def test_L3_empty_image(tmp_path, value):
    array = np.full((4, 4, 4), value, np.float32)
    image_refused(tmp_path / "a.nii", array, "L3", nonfinite=0.0)


def test_L4_empty_mask_is_accepted_if_declared(tmp_path):
    save(tmp_path / "sub-1_T1w.nii")
    empty = save(tmp_path / "sub-1_mask.nii", 0 * mask())
    assert [f.row for f in check(tmp_path)] == ["L4"]
    assert check(tmp_path, rules=Rules(empty_masks=True)) == []
    case = {"image": str(tmp_path / "sub-1_T1w.nii"), "label": str(empty)}
    for voxel_count, rows in ((0, []), (12, ["L4"])):
        record = {"lesion_voxels": voxel_count}
        assert [f.row for f in check_cases([case | {"record": record}], Rules())] == rows
    assert LoadScand(["image", "label"])(case)["label"].sum() == 0


def test_L5_mask_of_0_and_255(tmp_path):
    label_refused(tmp_path, 255 * mask(), "L5", "255", "binarize")
    case = {k: str(tmp_path / f) for k, f in (("image", "a.nii"), ("label", "a_mask.nii"))}
    loaded = LoadScand(["image", "label"], reading={"binarize": True})(case)["label"]
    np.testing.assert_array_equal(loaded[0], mask())


@pytest.mark.parametrize(
    ("value", "row", "shown"),
    [(0.5, "L6", "0, 0.5"), (0.9999, "L6", "0.9999"), (2, "L7", "0, 2"), (-1, "L7", "-1, 0")],
)
def test_L6_L7_other_values(tmp_path, value, row, shown):
    array = mask().astype(np.float32) * value
    label_refused(tmp_path, array, row, shown)
    if value < 0:
        label_refused(tmp_path, array, row, shown, binarize=True)


@pytest.mark.parametrize("binarize", [False, True])
def test_L8_nan_in_label(tmp_path, binarize):
    array = mask().astype(np.float32)
    array[0, 0, 0] = np.nan
    label_refused(tmp_path, array, "L8", "NaN", binarize=binarize)


def test_L9_an_image_as_label(tmp_path):
    label_refused(tmp_path, voxels(), "L9", "336 different values from 1 to 336")


def test_prediction_may_hold_anything(tmp_path):
    path = save(tmp_path / "a_pred.nii", 0 * mask())
    assert LoadScand("pred")({"pred": str(path)})["pred"].shape == (1, 6, 7, 8)


def test_mistyped_rule_is_usage():
    with pytest.raises(UsageError, match=r"no rule 'nonfinit'; choose from .*nonfinite"):
        LoadScand("image", reading={"nonfinit": 0})


def test_values_pass_unchanged():
    array = voxels(dtype=np.float32)
    assert require_image("a", array) is array
    np.testing.assert_array_equal(require_mask("a", mask().astype(bool)), mask())


def test_L6_W7_a_value_is_shown_with_its_digits(tmp_path):
    save(tmp_path / "a_T1w.nii")
    save(tmp_path / "a_mask.nii", mask().astype(np.float32) * np.float32(0.99999994))
    (problem,) = check(tmp_path)
    assert (problem.row, problem.what) == ("L6", "a mask with values 0, 0.99999994, not 0 and 1")
