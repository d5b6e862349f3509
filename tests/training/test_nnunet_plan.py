"""Plans of made data sets beside nnU-Net v2's own, which lie in tests/reference/nnunet."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from stroke_nets.errors import UsageError
from stroke_nets.training.nnunet_plan import Fingerprint, fingerprint, overlay, plan

MADE = json.loads((Path(__file__).parents[1] / "reference" / "nnunet" / "plans.json").read_text())
NAMES = {"median_image_size_in_voxels": "median_shape", "features_per_stage": "widths"}


def planned(name):
    given = MADE[name]["fingerprint"]
    return plan(Fingerprint(given["spacings"], given["shapes_after_crop"], given["share"]))


@pytest.mark.parametrize("name", MADE)
def test_plan_equals_nnunet_v2s(name):
    theirs, ours = MADE[name]["plan"], planned(name)
    assert list(ours.transpose) == theirs["transpose"]
    assert ours.masked_zscore == theirs["masked_zscore"]
    assert (ours.lowres is not None) == ("3d_lowres" in theirs)
    for configuration, stage in (("3d_fullres", ours.fullres), ("3d_lowres", ours.lowres)):
        for key, value in theirs.get(configuration, {}).items():
            found = getattr(stage, NAMES.get(key, key))
            if isinstance(value, list) and isinstance(value[0], float):
                assert list(found) == pytest.approx(value, rel=1e-12), key  # the same sums
            else:
                assert json.loads(json.dumps(found)) == value, key


def test_made_data_sets_cover_what_a_plan_can_be():
    plans = [planned(name) for name in MADE]
    assert {p.lowres is None for p in plans} == {p.masked_zscore for p in plans} == {True, False}
    assert {p.transpose for p in plans} >= {(0, 1, 2)}
    assert any([1, 2, 2] in p.fullres.strides for p in plans)
    assert any([1, 3, 3] in p.fullres.kernel_sizes for p in plans)


def test_fingerprint_is_of_the_non_zero_box_in_nnunets_axis_order(tmp_path):
    voxels = np.zeros((10, 12, 14), np.float32)
    voxels[2:7, 1:12, 3:5] = 1
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 2, 3, 1])), tmp_path / "a.nii.gz")
    found = fingerprint(tmp_path, [{"image": "a.nii.gz"}])
    assert found.spacings == [(3.0, 2.0, 1.0)]
    assert found.shapes == [(2, 11, 5)]
    assert found.relative_size == pytest.approx(2 * 11 * 5 / 1680)


def test_overlay_has_the_plan_where_the_bundles_have_the_network():
    read = yaml.safe_load(yaml.safe_dump(overlay(planned("small_and_few"))))
    stage = planned("small_and_few").fullres
    assert read["patch_size"] == list(stage.patch_size)
    assert (read["spacing"], read["resampling"]) == (list(stage.spacing), "nnunet")
    assert len(read["supervision"]) == len(read["widths"]) - 1 == 3
    assert read["supervision"][-1] == 0
    with pytest.raises(UsageError, match="other strides for each axis"):
        overlay(planned("thick_slices"))
