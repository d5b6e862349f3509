"""The registration as a transform: it leaves ATLAS alone, is undone exactly, and done once."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd

from stroke_nets.errors import DataError
from stroke_nets.registration import register_to_template
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.quality import Quality
from stroke_nets.registration.register import Registration
from stroke_nets.registration.register_to_template import RegisterToTemplated
from stroke_nets.registration.volume import brain, placed, resampled

MATRIX = np.diag([0.9, 0.95, 0.9, 1])
MATRIX[:3, 3] = (-20, 5, 8)
FAIR = Quality(1.0, 0.9, 0.0, 0.0, 1.0, 1.0, 1.4)


@pytest.fixture
def known(monkeypatch):
    """In place of a registration: every scan lies 20 mm to the left, smaller."""
    calls = []

    def register(scan, contrast):
        calls.append(scan)
        return Registration(MATRIX, FAIR)

    monkeypatch.setattr(register_to_template, "register", register)
    monkeypatch.setattr(register_to_template, "_known", {})
    return calls


def ball(axes="RAS", digest="a"):
    """A scan of 3 mm with a ball of 12 mm at MNI (30, -20, 10), in some orientation."""
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = (-90, -110, -70)
    centre = nib.affines.apply_affine(MATRIX, (30.0, -20, 10))
    grid = nib.affines.apply_affine(affine, np.moveaxis(np.indices((55, 60, 50)), 0, -1))
    image = nib.Nifti1Image(
        (np.linalg.norm(grid - centre, axis=-1) < 12).astype(np.float32), affine
    )
    start, end = (nib.orientations.axcodes2ornt(codes) for codes in ("RAS", axes))
    image = image.as_reoriented(nib.orientations.ornt_transform(start, end))
    voxels = torch.from_numpy(np.ascontiguousarray(image.dataobj))[None]
    return MetaTensor(voxels, affine=torch.as_tensor(image.affine), meta={"sha256": digest})


def test_a_scan_on_the_template_stays_as_it_is(known):
    template = brain()
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = template.voxels.shape[0] - 1
    voxels = torch.from_numpy(template.voxels[::-1].copy())[None]
    scan = MetaTensor(voxels, affine=torch.as_tensor(template.affine @ turn))
    transform = RegisterToTemplated("image")
    data = transform({"image": scan})
    assert data["image"] is scan
    assert OnTemplate.of(scan) is None
    assert transform.inverse(data)["image"] is scan
    assert not known


@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSR"])
def test_a_registered_scan_goes_to_the_template_and_back(axes, known):
    scan = ball(axes)
    chain = Compose(
        [RegisterToTemplated("image"), Orientationd("image", axcodes="SAR", labels=None)]
    )
    data = chain({"image": scan})
    image = data["image"]
    assert image.shape[1:] == (189, 233, 197)
    found = np.argwhere(image[0].numpy() > 0.5)
    centre = nib.affines.apply_affine(image.affine.numpy(), found).mean(axis=0)
    np.testing.assert_allclose(centre, (30, -20, 10), atol=0.5)  # of voxels of 3 mm
    data["pred"] = MetaTensor(image.as_tensor())
    back = Invertd("pred", chain, "image", nearest_interp=False)(data)["pred"]
    assert back.shape == scan.shape
    torch.testing.assert_close(back.affine, scan.affine)
    inside, seen = scan[0].numpy() > 0.5, back[0].numpy() > 0.5
    # two interpolations between 3 mm and 1 mm move the surface by a fraction of a voxel
    assert 2 * (inside & seen).sum() / (inside.sum() + seen.sum()) > 0.98


def test_one_scan_is_registered_once(known):
    for digest in ("a", "a", "b"):
        RegisterToTemplated("image")({"image": ball("RAS", digest)})
    assert len(known) == 2


def test_places_of_the_scan_and_the_template(known):
    there = OnTemplate(MATRIX)
    points = np.array([[30.0, -20, 10], [0, 0, 0]]).T
    moved = nib.affines.apply_affine(MATRIX, points.T).T
    np.testing.assert_allclose(there.to_template(moved), points, atol=1e-9)


def test_a_poor_registration_is_refused(monkeypatch):
    poor = Registration(MATRIX, replace(FAIR, outside=0.4))
    monkeypatch.setattr(register_to_template, "register", lambda scan, contrast: poor)
    with pytest.raises(DataError, match="40% of the brain lies outside the field of view"):
        RegisterToTemplated("image")({"image": ball(digest=None)})


def test_a_scan_keeps_its_resolution_and_its_air():
    rng = np.random.default_rng(0)
    scan = np.zeros((24, 24, 24), np.float32)
    scan[6:18, 6:18, 6:18] = rng.uniform(0.5, 1, (12, 12, 12))
    half = nib.affines.from_matvec(np.eye(3), (0.5, 0.5, 0.5))  # where linear smooths most
    cubic, linear = placed(scan, half, scan.shape), resampled(scan, half, scan.shape)
    inner = (slice(8, 15),) * 3
    assert cubic[inner].std() > 1.3 * linear[inner].std()
    around = np.argwhere(cubic)
    assert cubic.min() == 0
    assert around.min() >= 1  # a spline's tail ends there: 0.27 ** 4 of its overshoot is air
    assert around.max() <= 21


def test_each_warning_is_one_whole_sentence(monkeypatch):
    odd = Registration(MATRIX, replace(FAIR, outside=0.05, contrast=1.0))
    monkeypatch.setattr(register_to_template, "register", lambda scan, contrast: odd)
    image = RegisterToTemplated("image")({"image": ball(digest=None)})["image"]
    assert OnTemplate.of(image).warnings == odd.warnings()
    assert len(odd.warnings()) == 2
