from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from stroke_nets.transforms.distance_label import DistanceLabeld

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "mscsa" / "vec_labels.npz")


def test_equals_the_authors():
    case = {"label": REFERENCE["mask"][None]}
    np.testing.assert_array_equal(DistanceLabeld("label")(case)["label"][0], REFERENCE["dbl"])


def test_a_cube_by_hand():
    # 7 voxels wide: 1, 4, 9, 16, 9, 4, 1 are the squared distances along each axis.
    mask = torch.zeros(1, 9, 9, 9)
    mask[0, 1:8, 1:8, 1:8] = 0.5  # masks may hold fractions
    expected = (mask > 0).float()
    expected[0, 3:6, 3:6, 3:6] = 2
    torch.testing.assert_close(DistanceLabeld("label")({"label": mask})["label"], expected)


def test_the_limit_lies_between_four_and_five():
    mask = np.ones((1, 1, 5, 5), np.uint8)
    mask[0, 0, 2, 2] = 0
    label = DistanceLabeld("label")({"label": mask})["label"][0, 0]
    assert label[2, 0] == 1  # squared distance 4
    assert label[1, 0] == 2  # 5


def test_the_border_is_not_background():
    mask = np.ones((1, 4, 1, 1), np.uint8)
    mask[0, 0] = 0
    label = DistanceLabeld("label")({"label": mask})["label"]
    assert label.flatten().tolist() == [0, 1, 1, 2]
    further = DistanceLabeld("label", squared=0.5)({"label": mask})["label"]
    assert further.flatten().tolist() == [0, 2, 2, 2]


def test_keeps_what_belongs_to_the_scan():
    mask = MetaTensor(torch.zeros(1, 3, 3, 3), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    label = DistanceLabeld("label")({"label": mask})["label"]
    assert not label.any()
    assert label.dtype == torch.float32
    torch.testing.assert_close(label.affine, mask.affine)
