import numpy as np
import pytest
import torch
from monai.transforms import RandAffine
from scipy import ndimage

from stroke_nets.transforms.rand_brightness import RandBrightnessd
from stroke_nets.transforms.rand_spatial import RandSpatiald

WINDOW = (30, 28, 26)
PATCH = (16, 16, 16)
OFF = {"rotation_prob": 0.0, "scale_prob": 0.0}


@pytest.fixture
def volume():
    noise = np.random.default_rng(0).normal(size=WINDOW)
    return torch.as_tensor(ndimage.gaussian_filter(noise, 2)[None] * 20, dtype=torch.float32)


def spatial(**options):
    transform = RandSpatiald(["image", "label"], PATCH, [3, "bilinear"], **(OFF | options))
    transform.set_random_state(seed=3)
    return transform


def test_without_deformation_the_middle_is_cut_out(volume):
    result = spatial()({"image": volume, "label": volume > 0})
    np.testing.assert_array_equal(result["image"], volume[:, 7:23, 6:22, 5:21])
    np.testing.assert_array_equal(result["label"], volume[:, 7:23, 6:22, 5:21] > 0)


@pytest.mark.parametrize("option", ["elastic_prob", "rotation_prob", "scale_prob"])
def test_image_and_label_move_together(volume, option):
    result = spatial(**{option: 1.0})({"image": volume, "label": volume.clone()})
    assert result["image"].shape == result["label"].shape == (1, *PATCH)
    assert not torch.allclose(result["image"], volume[:, 7:23, 6:22, 5:21], atol=0.05)
    gap = (result["image"] - result["label"]).abs()
    assert gap.mean() < 0.05 * volume.std()  # spline orders 3 and 1 differ by their blur only


@pytest.mark.parametrize("option", ["rotation_prob", "scale_prob"])
def test_classes_win_by_their_linear_share(volume, option):
    label = (volume > 0).float() + (volume > volume.std())
    transform = RandSpatiald(
        ["image", "label"], PATCH, ["bilinear", "classes"], **(OFF | {option: 1})
    )
    one_hot = torch.cat([label == value for value in range(3)]).float()
    data = {"image": one_hot, "label": label}
    result = transform.set_random_state(seed=3)(data)
    np.testing.assert_array_equal(result["label"][0], result["image"].argmax(0))
    assert len(result["label"].unique()) == 3


def test_scale_is_the_one_drawn(volume):
    """Against MONAI's own affine with the same factor."""
    transform = spatial(scale_prob=1.0, scale_range=(1.25, 1.25))
    result = transform({"image": volume, "label": volume})["label"]
    factor = (0.25, 0.25)
    affine = RandAffine(1.0, scale_range=[factor] * 3, spatial_size=PATCH, padding_mode="zeros")
    np.testing.assert_allclose(result, affine(volume), atol=1e-4)  # float32 coordinates


def test_scales_lie_on_both_sides_of_one_equally_often():
    transform = spatial(scale_range=(0.7, 1.4))
    drawn = np.array([transform._draw_scale() for _ in range(2000)])
    assert ((drawn >= 0.7) & (drawn <= 1.4)).all()
    assert abs((drawn < 1).mean() - 0.5) < 0.05  # 4.5 standard errors of 2000 draws


def test_elastic_displacement_is_smooth_and_bounded():
    transform = spatial(elastic_prob=1.0)
    for _ in range(5):
        field = transform._draw_displacement()
        assert np.abs(field).max() <= 0.25 / 2 * max(PATCH)
        assert field.shape == (3, *PATCH)


def test_same_seed_same_patch(volume):
    data = {"image": volume, "label": volume}
    one, other = (spatial(rotation_prob=0.5, scale_prob=0.5)(data) for _ in range(2))
    np.testing.assert_array_equal(one["image"], other["image"])


def test_brightness_adds_one_number(volume):
    shift = RandBrightnessd("image", prob=1.0, std=0.2).set_random_state(seed=0)
    drawn = [shift({"image": volume})["image"] - volume for _ in range(400)]
    assert all(d.max() - d.min() < 1e-5 for d in drawn)  # float32 rounding
    sizes = torch.stack([d.mean() for d in drawn])
    assert abs(sizes.std() - 0.2) < 0.03  # 4 standard errors of 400 draws
    assert RandBrightnessd("image", 0.0, 0.2)({"image": volume})["image"] is volume
