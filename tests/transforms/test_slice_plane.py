import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd

from stroke_nets.transforms.slice_plane import SlicePlaned, plane_box


def scan(shape, spacing=(1, 1, 1), codes=(1, 1, 1)) -> MetaTensor:
    affine = np.diag([s * c for s, c in zip(spacing, codes, strict=True)] + [1.0])
    voxels = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(voxels, affine=torch.as_tensor(affine))


def test_atlas_grid_has_d_unets_box():
    assert plane_box(scan((197, 233, 189))) == ((10, 40), (180, 180))


def test_other_grids_are_boxed_around_the_foreground():
    image = scan((100, 100, 3), spacing=(2, 2, 5)) * 0
    image[:, 20:41, 60:81] = 1  # centre voxel 30, 70
    # 180 mm are 90 voxels of 2 mm: 30 - 44.5 and 70 - 44.5, halves to even
    assert plane_box(image) == ((-14, 26), (90, 90))


def test_crop_and_resize_match_torch():
    image = scan((197, 233, 189))
    found = SlicePlaned("image", mode="trilinear")({"image": image})["image"]
    slices = image.as_tensor()[0, 10:190, 40:220].permute(2, 0, 1)[:, None]
    expected = torch.nn.functional.interpolate(slices, (192, 192), mode="bilinear")
    assert found.shape == (1, 192, 192, 189)
    # float32 interpolation of values in [0, 1]
    torch.testing.assert_close(
        found.as_tensor()[0], expected[:, 0].permute(1, 2, 0), atol=1e-5, rtol=0
    )
    assert found.affine[0, 0] == pytest.approx(180 / 192)


def test_mask_stays_binary_and_cut_voxels_are_reported(caplog):
    image, label = scan((197, 233, 189)), scan((197, 233, 189)) * 0
    label[:, 8:12, 100:104, 50] = 1  # x 8 and 9 are outside
    found = SlicePlaned(("image", "label"))({"image": image, "label": label})["label"]
    assert found.unique().tolist() == [0, 1]
    assert "8 lesion voxels" in caplog.text


@pytest.mark.parametrize("codes", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("shape", [(112, 112, 10), (60, 130, 10)])
def test_inverse_returns_to_the_scans_own_grid(shape, codes):
    image = scan(shape, spacing=(2, 2, 3), codes=codes) * 0.1
    blob = tuple(slice(n // 2 - 4, n // 2 + 3) for n in shape)
    image[(0, *blob)] = 1
    transform = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            SlicePlaned("image", size=192, mode="trilinear"),
        ]
    )
    seen = transform({"image": image.clone()})
    seen["pred"] = MetaTensor((seen["image"].as_tensor() > 0.55).float())
    back = Invertd("pred", transform=transform, orig_keys="image", nearest_interp=False)(seen)
    torch.testing.assert_close(back["pred"].affine, image.affine)
    # up to 192 x 192 and back, a box keeps its faces
    assert torch.equal(back["pred"].as_tensor() > 0.5, image.as_tensor() > 0.5)


def test_a_box_larger_than_the_scan_is_padded_with_the_minimum():
    image = scan((20, 20, 2)) + 5
    found = SlicePlaned("image", mode="trilinear")({"image": image})["image"]
    assert found[0, 0, 0, 0] == image.min()


def test_x_nets_own_plane_is_cut_and_not_resized():
    """X-Net's data.py: x 2:194, y 5:229 of the ATLAS grid; other extents lie around the head."""
    image = scan((197, 233, 189))
    image[0] = torch.arange(197)[:, None, None] * 1000.0 + torch.arange(233)[:, None]
    found = SlicePlaned("image", size=[192, 224], mode="trilinear")({"image": image})["image"]
    torch.testing.assert_close(found.as_tensor(), image[:, 2:194, 5:229].as_tensor())
    assert plane_box(scan((40, 50, 3)), (176, 224))[1] == (176, 224)
