from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from stroke_nets.transforms.multi_size_label import MultiSizeLabeld

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "mscsa" / "vec_labels.npz")


def test_equals_the_authors():
    case = {"label": REFERENCE["mask"][None]}
    np.testing.assert_array_equal(MultiSizeLabeld("label")(case)["label"][0], REFERENCE["msl"])
    np.testing.assert_array_equal(case["label"][0], REFERENCE["mask"])  # the input is left alone


@pytest.mark.parametrize(
    ("voxels", "expected"), [(1, 1), (99, 1), (100, 2), (999, 2), (1000, 3), (9999, 3), (10000, 4)]
)
def test_limits(voxels, expected):
    mask = np.zeros((1, 3, 1, 10001), np.uint8)
    mask[0, 0, 0, :voxels] = 255
    mask[0, 2, 0, 5] = 1
    label = MultiSizeLabeld("label")({"label": mask})["label"]
    assert set(label[0, 0, 0, :voxels]) == {expected}
    assert label[0, 2, 0, 5] == 1
    assert np.count_nonzero(label) == voxels + 1


def test_lesions_that_touch_by_an_edge_are_two():
    mask = torch.zeros(1, 2, 2, 3)
    mask[0, 0, 0] = 1
    mask[0, 1, 1] = 0.3  # masks may hold fractions
    label = MultiSizeLabeld("label", sizes=[4])({"label": mask})["label"]
    torch.testing.assert_close(label, (mask > 0).float())
    mask[0, 0, 1, 0] = 1
    label = MultiSizeLabeld("label", sizes=[4])({"label": mask})["label"]
    torch.testing.assert_close(label, 2 * (mask > 0).float())


def test_keeps_what_belongs_to_the_scan():
    mask = MetaTensor(torch.zeros(1, 3, 3, 3), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    label = MultiSizeLabeld("label")({"label": mask})["label"]
    assert not label.any()
    assert label.dtype == torch.float32
    torch.testing.assert_close(label.affine, mask.affine)
    with pytest.raises(KeyError):
        MultiSizeLabeld("label")({})
    assert MultiSizeLabeld("label", allow_missing_keys=True)({}) == {}


def test_a_lambda_merges_the_classes_in_prediction():
    steps = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {
            "_target_": "Lambdad",
            "keys": "pred",
            "func": "$lambda p: torch.stack([p[0], p[1:].sum(0)])",
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    ]
    config = {"imports": ["$import torch"], "post": {"_target_": "Compose", "transforms": steps}}
    probability = torch.tensor([[0.4, 0.6], [0.3, 0.1], [0.3, 0.3]]).reshape(3, 1, 1, 2)
    parser = ConfigParser(config)
    pred = parser.get_parsed_content("post")({"pred": probability.log()})["pred"]
    assert pred.flatten().tolist() == [1, 0]
