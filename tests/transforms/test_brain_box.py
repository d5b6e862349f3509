"""From a scan on the template to the box of the small networks, and back."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from stroke_nets.synthesis import template
from stroke_nets.transforms.brain_box import (
    SHAPE,
    BrainBoxd,
    DiffusionBoxd,
    brain_mask,
    scale_by_white_matter,
)

BOX = Compose([BrainBoxd(keys=["image", "label"], allow_missing_keys=True)])
DIFFUSION_BOX = Compose([DiffusionBoxd(keys=["image", "adc", "label"], allow_missing_keys=True)])


@pytest.fixture(scope="module")
def scan():
    whole = np.zeros(template().shape, np.float32)
    whole[template().box] = template().t1
    return MetaTensor(whole[None], affine=torch.as_tensor(template().affine))


@pytest.fixture(scope="module")
def lesion(scan):
    mask = torch.zeros_like(scan)
    mask[:, 50:75, 100:130, 80:100] = 1
    return mask


def test_both_halves_lie_on_each_other(scan):
    seen = BOX({"image": scan})["image"]
    assert seen.shape == (2, *SHAPE)
    assert torch.equal(seen[1], seen[0].flip(0))
    mask = brain_mask()
    assert torch.equal(mask, mask.flip(0))
    assert not seen[:, ~mask].any()
    inside = seen[0][mask]
    assert inside.kthvalue(int(0.9 * len(inside)))[0] == pytest.approx(1, abs=0.05)
    # The template is symmetric: what is left is interpolation between voxels of 1 mm.
    assert float((seen[0] - seen[1]).abs()[mask].mean()) < 0.02


def test_the_unit_of_a_scan_does_not_matter(scan):
    a, b = (BOX({"image": scan * factor})["image"].as_tensor() for factor in (1, 1200))
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1000.0])
def test_dwi_and_adc_are_stacked_with_their_mirror_images(scan, unit):
    adc = 0.8 * torch.ones_like(scan)  # 1e-3 mm2/s
    found = DIFFUSION_BOX({"image": 500 * scan, "adc": unit * adc})
    seen = found["image"].as_tensor()
    assert "adc" not in found
    assert seen.shape == (4, *SHAPE)
    assert torch.equal(seen[2:], seen[:2].flip(1))
    assert not seen[:, ~brain_mask()].any()
    assert seen[0][seen[0] > 0].median() == pytest.approx(1, abs=0.05)
    assert seen[1][brain_mask()].median() == pytest.approx(0.8, abs=1e-4)
    alone = DIFFUSION_BOX({"image": scan})["image"].as_tensor()
    assert torch.allclose(alone[0], seen[0], atol=1e-5)
    assert not alone[[1, 3]].any()


@pytest.mark.parametrize("box", [BOX, DIFFUSION_BOX])
def test_a_prediction_comes_back_to_its_place(box, scan, lesion):
    data = box({"image": scan, "label": lesion})
    assert data["label"].shape == (1, *SHAPE)
    data["pred"] = data["label"].clone()
    back = Invertd(keys="pred", orig_keys="image", transform=box, nearest_interp=False)(data)[
        "pred"
    ]
    assert back.shape == lesion.shape
    found, truth = back.as_tensor() > 0.5, lesion.as_tensor() > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.9  # a shell of half a voxel of 2 mm around 25 x 30 x 20 mm


def test_an_empty_scan_stays_empty():
    assert not scale_by_white_matter(torch.zeros(SHAPE)).any()
