import hashlib

import nibabel as nib
import numpy as np
import pytest

from stroke_nets import synthesis as simulate
from stroke_nets.errors import DataError, UsageError
from stroke_nets.synthesis.appearance import draw_contrast
from stroke_nets.synthesis.patient import draw_stroke, lesion_source

PLAIN = simulate.Design(plain=True)


def test_plain_patient_is_the_one_of_the_manifest():
    image, mask = simulate.simulate_patient(0, 1, PLAIN)
    assert (image.shape, image.dtype) == ((197, 233, 189), np.int16)
    assert (mask.shape, mask.dtype) == (image.shape, np.uint8)
    assert hashlib.sha256(mask.tobytes()).hexdigest()[:16] == "f169d6ee7de6664f"
    assert image.sum() == pytest.approx(1_174_587_641, rel=1e-6)  # exp differs by CPU
    assert 1_500_000 < (image > 0).sum() < 2_500_000
    assert np.median(image[mask > 0]) < 0.7 * np.median(image[(image > 0) & (mask == 0)])


@pytest.fixture(scope="module")
def patient():
    return simulate.simulate_patient(2, 15)


def test_lesions_have_the_volumes_drawn(patient):
    image, mask = patient
    drawn = draw_stroke(np.random.default_rng([2, 15, 1])).volumes
    assert (image.shape, image.dtype) == ((197, 233, 189), np.int16)
    assert (mask.shape, mask.dtype) == (image.shape, np.uint8)
    assert mask.sum() == sum(drawn) > 0
    assert image.min() >= 0


def test_patients_differ(patient):
    assert (simulate.simulate_patient(2, 16)[0] != patient[0]).any()


def test_skull_can_be_left_out(patient):
    brain, mask = simulate.simulate_patient(2, 15, simulate.Design(skull=False))
    inside = brain > 0
    assert 1_400_000 < inside.sum() < 2_600_000  # a brain is 1.0 to 2.0 l; the template 1.9
    assert inside[mask > 0].mean() > 0.99  # a dark voxel may come out 0
    outside = (patient[0] > np.median(patient[0][inside])) & ~inside
    assert outside.sum() > 200_000  # of a scalp of about 5 mm on 0.1 square metres: 500 ml


def test_contrast():
    rng = np.random.default_rng(0)
    t1w = np.array([draw_contrast(rng, "t1w").tissues for _ in range(50)])
    assert (np.diff(t1w, axis=1) > 0).all()  # fluid, grey matter, white matter
    random = np.array([draw_contrast(rng, "random").tissues for _ in range(50)])
    assert 10 < (np.diff(random, axis=1) > 0)[:, 1].sum() < 40


def test_random_contrast_changes_the_scan_and_not_the_volumes(patient):
    other, mask = simulate.simulate_patient(2, 15, simulate.Design(contrast="random"))
    assert mask.sum() == patient[1].sum()
    assert abs(np.corrcoef(other.ravel(), patient[0].ravel())[0, 1]) < 0.9


@pytest.fixture(scope="module")
def mask_folder(tmp_path_factory):
    """One mask in the left hemisphere on a grid of 2 mm that runs right to left."""
    folder = tmp_path_factory.mktemp("masks")
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    voxels = np.zeros((91, 109, 91), np.uint8)
    voxels[58:68, 47:61, 46:56] = 1  # 20 x 28 x 20 mm
    nib.save(nib.Nifti1Image(voxels, affine), folder / "lesion.nii.gz")
    return folder


def test_real_masks_keep_place_and_volume_and_are_mirrored(mask_folder):
    design = simulate.Design(masks=mask_folder, bend=0)
    sides = set()
    for index in range(1, 8):
        stroke = draw_stroke(np.random.default_rng([0, index, 1]), mask_folder)
        if stroke.mask is None or len(sides) == 2:
            continue
        _, mask = simulate.simulate_patient(0, index, design)
        x, y, z = nib.affines.apply_affine(simulate.template().affine, np.argwhere(mask).mean(0))
        sides.add(np.sign(x))
        np.testing.assert_allclose((abs(x), y, z), (35, -19, 29), atol=1)  # of a voxel of 2 mm
        # Half a voxel of 1 mm is lost on each face, and the corners are rounded off.
        assert 0.8 * 20 * 28 * 20 < mask.sum() < 20 * 28 * 20
    assert sides == {-1, 1}


def test_the_source_of_a_lesion_is_known_without_drawing_the_patient(mask_folder):
    design = simulate.Design(masks=mask_folder)
    sources = {lesion_source(0, index, design) for index in range(1, 30)}
    assert sources == {None, "lesion.nii.gz"}  # 15 % are healthy
    assert lesion_source(0, 1, simulate.Design()) is None


def test_folder_without_masks(tmp_path):
    with pytest.raises(UsageError, match=f"--masks {tmp_path}: .* give a folder of masks"):
        simulate.simulate(tmp_path / "out", 1, 0, design=simulate.Design(masks=tmp_path))
    assert not (tmp_path / "out").exists()


def test_mask_outside_the_brain(tmp_path):
    affine = nib.affines.from_matvec(np.eye(3), [0, 0, 150])
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), affine), tmp_path / "m.nii")
    with pytest.raises(DataError, match=r"m\.nii: no lesion inside the MNI brain"):
        simulate.simulate_patient(2, 15, simulate.Design(masks=tmp_path))
