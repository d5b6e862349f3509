from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from stroke_nets.transforms.nnunet_spacing import NNUNetSpacingd, coarse_axis

MADE = np.load(Path(__file__).parents[1] / "reference" / "nnunet" / "resampled.npz")
CASES = {"isotropic": None, "thick_before": 0, "thick_after": 2}


def case(name):
    """A scan and its mask at the first spacing, and the second spacing."""
    before, after = MADE[f"{name}_spacing"]
    affine = torch.diag(torch.tensor([*before, 1.0], dtype=torch.float64))
    volumes = {
        key: MetaTensor(torch.from_numpy(MADE[f"{name}_{key}"])[None], affine=affine)
        for key in ("image", "label")
    }
    return volumes, [float(mm) for mm in after]


@pytest.mark.parametrize("name", CASES)
def test_made_arrays_are_resampled_as_by_nnunet_v2(name):
    volumes, after = case(name)
    found = NNUNetSpacingd(["image", "label"], after)(volumes)
    assert coarse_axis(MADE[f"{name}_spacing"][0], after) == CASES[name]
    image, label = (found[key][0].numpy() for key in ("image", "label"))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, MADE[f"{name}_image_resampled"], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(label, MADE[f"{name}_label_resampled"])


@pytest.mark.parametrize("name", CASES)
def test_the_field_of_view_stays_and_the_inverse_has_the_former_grid(name):
    volumes, after = case(name)
    transform = NNUNetSpacingd(["image", "label"], after)
    found = transform(volumes)
    for volume in (found["image"], found["label"]):
        given = volumes["image"]
        edges = [
            nib.affines.apply_affine(
                one.affine.numpy(), [np.full(3, -0.5), np.array(one.shape[1:]) - 0.5]
            )
            for one in (given, volume)
        ]
        np.testing.assert_allclose(*edges, atol=1e-6)
    back = transform.inverse(found)["image"]
    assert back.shape == volumes["image"].shape
    np.testing.assert_allclose(back.affine, volumes["image"].affine, atol=1e-6)


def test_two_coarse_axes_are_resampled_alike():
    assert coarse_axis((0.24, 1.25, 1.25), (1, 1, 1)) is None


def test_the_same_grid_is_the_same_volume():
    volumes, _ = case("isotropic")
    found = NNUNetSpacingd("image", (1, 1, 1))({"image": volumes["image"]})
    assert torch.equal(found["image"], volumes["image"])
