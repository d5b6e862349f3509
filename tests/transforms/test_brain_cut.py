import numpy as np
import torch
from monai.data import MetaTensor

from stroke_nets.registration.on_template import META, template_grid
from stroke_nets.registration.volume import brain, dilated
from stroke_nets.transforms.brain_cut import BrainCutd

MATRIX = np.diag([0.9, 0.9, 0.9, 1])


def data(registered):
    meta = {META: {"matrix": MATRIX, "quality": {}, "warnings": ""}} if registered else {}
    affine = torch.as_tensor(template_grid().affine)
    image = MetaTensor(torch.zeros(1, *template_grid().shape), affine=affine, meta=meta)
    return {"image": image, "pred": torch.ones(1, *template_grid().shape)}


def test_predictions_end_at_the_brains_margin():
    """Within 1 mm, half the spacing of the grid on which distances are measured."""
    kept = BrainCutd("pred", margin=6.0)(data(True))["pred"][0].numpy() > 0
    assert kept[dilated(brain(), 5.0)].all()
    assert not kept[~dilated(brain(), 7.0)].any()


def test_a_scan_that_was_not_registered_is_not_cut():
    given = data(False)
    assert BrainCutd("pred")(given)["pred"] is given["pred"]
