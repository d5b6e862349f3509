import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from stroke_nets.registration.on_template import META, template_grid
from stroke_nets.registration.volume import brain, dilated
from stroke_nets.transforms.brain_cut import BrainCutd
from stroke_nets.transforms.minimum_lesion import MinimumLesiond

MATRIX = np.diag([0.9, 0.9, 0.9, 1])


def data(registered):
    meta = {META: {"matrix": MATRIX, "quality": {}, "warnings": ""}} if registered else {}
    affine = torch.as_tensor(template_grid().affine)
    image = MetaTensor(torch.zeros(1, *template_grid().shape), affine=affine, meta=meta)
    return {"image": image, "pred": torch.ones(1, *template_grid().shape)}


def test_predictions_end_at_the_brains_margin():
    cut = BrainCutd("pred", margin=6.0)(data(True))["pred"]
    np.testing.assert_array_equal(cut[0].numpy() > 0, dilated(brain(), 6.0))


def test_a_scan_that_was_not_registered_is_not_cut():
    given = data(False)
    assert BrainCutd("pred")(given)["pred"] is given["pred"]


@pytest.mark.parametrize(("minimum_ml", "left"), [(0.0, 10), (0.016, 10), (0.017, 8), (0.065, 0)])
def test_small_lesions_are_left_out(minimum_ml, left):
    mask = torch.zeros(1, 6, 6, 6)
    mask[0, 0, 0, :2] = 1  # 2 and 8 voxels of 8 cubic millimetres
    mask[0, 3:5, 3:5, 3:5] = 1
    pred = MetaTensor(mask, affine=torch.diag(torch.tensor([-2.0, 2, 2, 1])))
    assert MinimumLesiond("pred", minimum_ml)({"pred": pred})["pred"].sum() == left
