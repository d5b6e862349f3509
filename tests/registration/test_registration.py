"""Registration of a simulated head of 3 mm voxels, in a known place."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from monai.data import MetaTensor
from monai.transforms import Invertd
from scipy import ndimage
from scipy.spatial.transform import Rotation

from stroke_nets.errors import DataError
from stroke_nets.registration import pose, register, register_to_template, template
from stroke_nets.registration.canonical import canonical
from stroke_nets.registration.picture import draw
from stroke_nets.registration.pipeline import normalize
from stroke_nets.registration.quality import measure
from stroke_nets.registration.register_to_template import RegisterToTemplated
from stroke_nets.registration.transform import Transform, load
from stroke_nets.registration.volume import Volume, brain, dilated, places

SHAPE = (75, 80, 75)  # 225 x 240 x 225 mm


@pytest.fixture(scope="module")
def head():
    """The template's brain within fluid, skull and scalp, and a lesion that reaches its surface."""
    healthy = brain(2)
    away = ndimage.distance_transform_edt(~dilated(healthy, 0), sampling=2)
    x, y, z = np.indices(healthy.voxels.shape)
    lesion = (x - 20) ** 2 + (y - 60) ** 2 + (z - 40) ** 2 < 15**2  # 60 ml in the brain
    voxels = np.select([away > 14, away > 8, away > 3, away > 0], [0, 0.8, 0.05, 0.2], 0)
    voxels = np.where(away > 0, voxels, np.where(lesion, 0.2, healthy.voxels))
    noise = np.random.default_rng(0).normal(0, 0.02, voxels.shape)
    return Volume(np.abs(voxels + noise).astype(np.float32), healthy.affine)


def moved(head, matrix):
    """The head after ``matrix``, on a grid of 3 mm about its middle."""
    grid = nib.affines.from_matvec(np.eye(3) * 3, matrix[:3, 3] - 1.5 * np.array(SHAPE))
    points = Transform(np.linalg.inv(matrix)).to_scan(places(np.ones(SHAPE, bool), grid))
    return Volume(head.sample(points).reshape(SHAPE), grid)


def known_map(degrees, shift):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return nib.affines.from_matvec(turn * [1.05, 0.88, 0.95], shift)


def error(matrix, known):
    """Mean distance of two maps over the brain, in mm."""
    low = brain(6)
    inside = places(dilated(low, 0), low.affine)
    apart = Transform(matrix).to_scan(inside) - Transform(known).to_scan(inside)
    return np.linalg.norm(apart, axis=0).mean()


@pytest.mark.parametrize("name", ["t1", "gm", "wm"])
def test_the_template_is_nilearns(name):
    from nilearn import datasets

    middle = {"t1": "", "gm": "gm_", "wm": "wm_"}[name]
    image = getattr(datasets, f"load_mni152_{middle}template")(resolution=1)
    voxels, affine = template.nilearn_map(name)
    np.testing.assert_array_equal(voxels, image.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(affine, image.affine)


@pytest.mark.parametrize(
    ("gain", "offset"), [(0.001, 0), (1000, 0), (1, -1000), (1, 1000), (0.01, -0.9)]
)
def test_neither_unit_nor_offset_nor_origin_changes_the_canonical_form(head, gain, offset):
    scan = moved(Volume(1000 * head.voxels, head.affine), np.eye(4))
    far = nib.affines.from_matvec(np.eye(3), (300, -250, 400)) @ scan.affine
    one = canonical(scan)
    other = canonical(Volume((gain * scan.voxels + offset).astype(np.float32), far))
    # Rounding to whole numbers may differ by one where float32 does.
    assert np.abs(one.volume.voxels - other.volume.voxels).max() <= 1
    assert (one.volume.voxels != other.volume.voxels).mean() < 0.01
    np.testing.assert_allclose(one.volume.affine, other.volume.affine, atol=1e-6)
    assert one.volume.voxels.min() == 0
    assert one.volume.voxels.max() <= 1200


def test_nothing_like_a_head_is_refused():
    assert canonical(Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))) is None
    empty = register.register(Volume(np.zeros((20, 20, 20), np.float32), np.eye(4)))
    assert empty.problems() == ["no head is seen"]


def test_a_head_is_found_and_a_map_returns_to_its_grid(head):
    known = known_map((14, -9, 8), (130, -220, 315))
    scan = moved(head, known)
    flipped = MetaTensor(  # axes left, superior, anterior
        torch.from_numpy(scan.voxels[::-1].swapaxes(1, 2).copy())[None],
        affine=scan.affine @ turned(scan.voxels.shape[0] - 1),
        meta={"filename_or_obj": "sub-1_T1w.nii.gz"},
    )
    mask = MetaTensor((flipped.as_tensor() > 0).float(), affine=flipped.affine)
    transform = RegisterToTemplated(("image", "label"))
    data = transform({"image": flipped, "label": mask})
    found = data["image"].meta["registration"]
    assert error(found["matrix"].numpy(), known) < 1.5  # half a voxel
    assert found["warnings"] == ""
    grid, shape = register_to_template.template_grid(1)
    assert tuple(data["image"].shape) == (1, *shape)
    np.testing.assert_allclose(data["image"].affine, grid)
    assert set(data["label"].unique().tolist()) == {0, 1}
    data["pred"] = MetaTensor(data["image"].as_tensor())
    back = Invertd(keys="pred", transform=transform, orig_keys="image", nearest_interp=False)(data)
    assert back["pred"].shape == flipped.shape
    np.testing.assert_allclose(back["pred"].affine, flipped.affine)
    # Two trilinear steps blur the head's edges and the noise of single voxels.
    assert np.corrcoef(back["pred"].numpy().ravel(), flipped.numpy().ravel())[0, 1] > 0.95


def turned(last):
    """Voxels of (left, superior, anterior) axes to those of (right, anterior, superior)."""
    turn = np.eye(4)[[0, 2, 1, 3]]
    turn[0] = [-1, 0, 0, last]
    return turn


def test_what_lies_on_the_template_stays(monkeypatch):
    monkeypatch.setattr(register, "allineate", None)
    whole = brain()
    scan = MetaTensor(1000 + 200 * torch.from_numpy(whole.voxels)[None], affine=whole.affine)
    transform = RegisterToTemplated("image")
    data = transform({"image": scan})
    np.testing.assert_array_equal(data["image"], scan)
    assert "registration" not in data["image"].meta
    data["pred"] = MetaTensor(scan.as_tensor() > 1100)
    back = Invertd(keys="pred", transform=transform, orig_keys="image", nearest_interp=False)(data)
    np.testing.assert_array_equal(back["pred"], scan > 1100)


def test_pose_is_found_upside_down(head, monkeypatch):
    monkeypatch.setattr(pose, "TURNS", (0,))  # 24 of the 648 turns
    known = known_map((180, 0, 0), (0, 0, 0))
    form = canonical(moved(head, known).thinned(4))
    poses = pose.find_poses(form.volume, 3)
    # niimath tries 30 degrees about each axis: 80 mm from the centre, 40 mm.
    assert min(error(form.to_scan(found), known) for found in poses) < 40


def test_a_doubtful_fit_is_tried_from_other_poses(head, monkeypatch):
    known = known_map((180, 0, 0), (0, 0, 0))
    scan = moved(head, known)
    form = canonical(scan)
    monkeypatch.setattr(register, "allineate", lambda scan: np.eye(4))
    monkeypatch.setattr(
        register, "find_poses", lambda scan, count: [np.diag([1, -1, -1, 1]), form.from_scan(known)]
    )
    found = register.register(scan)
    np.testing.assert_allclose(found.matrix, known, atol=1e-6)
    assert found.problems() == []


def test_all_axis_orders_are_one_scan():
    voxels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    affine = np.array([[2, 0, 0, -9], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(voxels, affine)
    orders = itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    )
    for axes, signs in orders:
        other = image.as_reoriented(np.column_stack([axes, signs]))
        volume = register_to_template.as_volume(
            MetaTensor(other.get_fdata(dtype=np.float32)[None].copy(), affine=other.affine)
        )
        np.testing.assert_array_equal(volume.voxels, voxels)
        np.testing.assert_array_equal(volume.affine, affine)


def test_a_wrong_map_is_a_problem(head):
    form = canonical(moved(head, np.eye(4)))
    here = form.from_scan(np.eye(4))
    assert measure(form.volume, here).problems() == []
    shifted = nib.affines.from_matvec(np.eye(3), (0, 0, 25))
    assert measure(form.volume, shifted @ here).problems() != []
    squeezed = nib.affines.from_matvec(np.eye(3) * 2, (0, 0, 0))
    assert any("scaled by 0.50" in p for p in measure(form.volume, squeezed).problems())


def test_what_is_not_in_view_is_told(head):
    whole = canonical(moved(head, np.eye(4)))
    here = whole.from_scan(np.eye(4))

    def above(mm, empty):
        """What is said of a scan without what lies ``mm`` above the brain's middle."""
        last = round(np.linalg.solve(whole.volume.affine, [0, 0, mm, 1])[2])
        voxels = whole.volume.voxels.copy()
        voxels[:, :, last:] = 0
        part = voxels if empty else voxels[:, :, :last]
        return measure(Volume(part, whole.volume.affine), here)

    for empty in (False, True):
        assert above(75, empty).problems() == []
        assert above(75, empty).warnings() == []
    assert any("field of view" in p for p in above(20, empty=False).problems())
    assert any("is empty" in p for p in above(20, empty=True).problems())


def test_another_contrast_is_told(head):
    whole = canonical(moved(head, np.eye(4))).volume
    inverted = Volume(np.where(whole.voxels > 40, 1000 - whole.voxels, 0), whole.affine)
    quality = measure(inverted, canonical(moved(head, np.eye(4))).from_scan(np.eye(4)))
    assert quality.problems() == []
    assert any("contrast is not T1w" in warning for warning in quality.warnings())
    assert quality.warnings("diffusion") == []
    assert not quality.doubtful("diffusion")
    plain = measure(whole, canonical(moved(head, np.eye(4))).from_scan(np.eye(4)))
    assert any("contrast is not diffusion" in warning for warning in plain.warnings("diffusion"))


def test_a_refused_scan_leaves_only_its_picture(tmp_path):
    speck = np.zeros((40, 40, 40), np.float32)
    speck[20, 20, 20] = 1
    nib.save(nib.Nifti1Image(speck, np.eye(4) * [5, 5, 5, 1]), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a.nii.gz: the registration is poor .*no head.*rejected"):
        normalize(tmp_path / "a.nii.gz", tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert names == ["a_to-MNI152NLin2009aSym_rejected.png"]


def test_what_is_written_for_a_scan(tmp_path):
    whole = brain()
    scan = nib.Nifti1Image((1000 * whole.voxels).astype(np.int16)[::-1], None)
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = len(whole.voxels) - 1
    scan.set_sform(whole.affine @ turn, 1)
    nib.save(scan, tmp_path / "sub-1_T1w.nii.gz")
    files = normalize(tmp_path / "sub-1_T1w.nii.gz", tmp_path / "out")
    written = nib.load(files.image)
    np.testing.assert_allclose(written.affine, whole.affine)
    back = np.corrcoef(written.get_fdata().ravel(), whole.voxels.ravel())[0, 1]
    assert back > 0.9999  # whole numbers of 0 to 1000
    np.testing.assert_array_equal(load(files.transform)[0].matrix, np.eye(4))
    assert files.picture.is_file()
    assert not files.rejected.exists()


@pytest.mark.parametrize(("weight", "told"), [(0.0, True), (0.1, True), (0.5, False), (1.0, False)])
def test_white_matter_that_is_not_bright_is_told(head, weight, told):
    """From grey and white matter alike, as in diffusion, to those of T1w."""
    tissue = brain(2).voxels > 0.4
    voxels = np.where(tissue, 0.75 + weight * (head.voxels - 0.75), head.voxels)
    form = canonical(Volume(voxels.astype(np.float32), head.affine))
    said = " ".join(measure(form.volume, form.from_scan(np.eye(4))).warnings())
    assert ("contrast is not T1w" in said) == told


def test_the_picture_of_a_scan_with_negative_values_is_drawn_alike(tmp_path):
    template = brain().thinned(4.0)
    pictures = []
    for offset in (0, -1000):
        draw(tmp_path / f"{offset}.png", template, template.voxels + offset, "a title")
        pictures.append(imread(tmp_path / f"{offset}.png"))
    np.testing.assert_allclose(*pictures, atol=2 / 255)  # float32 has fewer digits below -1000


def test_noise_smaller_than_a_brain_is_refused():
    """The search for other poses has to take it, too."""
    noise = np.random.default_rng(0).random((80, 100, 90)).astype(np.float32)
    assert register.register(Volume(noise, np.diag([2, 2, 2, 1.0]))).problems()
