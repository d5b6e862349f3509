import nibabel as nib
import numpy as np
import pytest

from stroke_nets import synthesis as simulate
from stroke_nets.errors import DataError, UsageError
from stroke_nets.registration.pipeline import bring_back, normalize
from stroke_nets.registration.transform import Transform, load, save
from stroke_nets.registration.volume import brain

TURNED = np.array([[0, -1.1, 0, 12], [0.9, 0, 0, -7], [0, 0, 1, 20], [0, 0, 0, 1.0]])


def test_there_and_back_is_where_it_was():
    transform = Transform(TURNED)
    points = np.random.default_rng(0).uniform(30, 160, (3, 200))
    np.testing.assert_allclose(transform.to_template(transform.to_scan(points)), points)


@pytest.fixture
def scan():
    """A scan that runs right to left, askew, with codes and units of its own."""
    affine = np.array([[-4, 0.2, 0, 90], [0.2, 4, 0, -120], [0, 0, 5, -70], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.ones((45, 50, 30), np.int16), affine)
    image.set_sform(affine, 2)
    image.set_qform(None, 0)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a name"
    return image


def test_file_holds_the_transform_and_the_header(tmp_path, scan):
    save(tmp_path / "a.json", Transform(TURNED), scan, {})
    transform, header = load(tmp_path / "a.json")
    np.testing.assert_allclose(transform.matrix, TURNED)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header["descrip"] == b""


def test_mask_comes_back_to_the_scans_grid(tmp_path, scan):
    save(tmp_path / "a.json", Transform(np.eye(4)), scan, {})
    template = simulate.template()
    mask = np.zeros(template.shape, np.uint8)
    mask[50:80, 100:140, 90:120] = 1
    nib.save(nib.Nifti1Image(mask, template.affine), tmp_path / "mask.nii.gz")
    bring_back(tmp_path / "mask.nii.gz", tmp_path / "a.json", tmp_path / "back.nii.gz")
    back = nib.load(tmp_path / "back.nii.gz")
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-5)  # float32 header
    assert back.get_data_dtype() == np.uint8
    assert (back.header["sform_code"], back.header["qform_code"]) == (2, 0)
    assert back.header.get_xyzt_units() == ("mm", "sec")
    voxels = np.asanyarray(back.dataobj)
    assert voxels.sum() * abs(np.linalg.det(scan.affine[:3, :3])) == pytest.approx(36000, rel=0.1)
    middle = nib.affines.apply_affine(back.affine, np.argwhere(voxels).mean(axis=0))
    wanted = nib.affines.apply_affine(template.affine, [64.5, 119.5, 104.5])
    np.testing.assert_allclose(middle, wanted, atol=1)  # a fifth of a voxel


def test_mask_on_another_grid_is_refused(tmp_path, scan):
    save(tmp_path / "a.json", Transform(np.eye(4)), scan, {})
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), tmp_path / "m.nii.gz")
    with pytest.raises(DataError, match=r"m\.nii\.gz.*shape"):
        bring_back(tmp_path / "m.nii.gz", tmp_path / "a.json", tmp_path / "back.nii.gz")


def test_W4_probabilities_are_no_mask_to_bring_back(tmp_path, scan):
    save(tmp_path / "a.json", Transform(np.eye(4)), scan, {})
    template = brain()
    image = nib.Nifti1Image(0.2 * template.voxels, template.affine)
    nib.save(image, tmp_path / "m.nii")
    with pytest.raises(DataError, match=r"m\.nii: .*not a mask"):
        bring_back(tmp_path / "m.nii", tmp_path / "a.json", tmp_path / "back.nii.gz")


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"scan_header": "AAAA", "matrix": []}'])
def test_what_is_no_transform_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: not a transform"):
        load(tmp_path / "a.json")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "sub-1_space-MNI152NLin2009aSym_T1w.nii.gz").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        normalize(tmp_path / "sub-1_T1w.nii.gz", tmp_path)
    (tmp_path / "out.nii.gz").write_text("mine")
    with pytest.raises(UsageError, match=r"out\.nii\.gz: give a new file"):
        bring_back(tmp_path / "m.nii.gz", tmp_path / "a.json", tmp_path / "out.nii.gz")


@pytest.mark.parametrize(
    ("voxels", "says"),
    [
        (np.ones((20, 20, 20, 2), np.float32), "4D, with 2 volumes"),
        (np.ones((20, 20, 20), np.float32), "one value only"),
        (np.full((20, 20, 20), np.nan, np.float32), "holds NaN"),
    ],
)
def test_unfit_scans_are_refused(tmp_path, voxels, says):
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match=rf"scan\.nii\.gz: .*{says}"):
        normalize(tmp_path / "scan.nii.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
