"""A DICOM series through `predict`: mask, Segmentation, report, and nothing of the patient."""

import json

import highdicom
import nibabel as nib
import numpy as np
import pytest

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.derivative import lesion_masks
from stroke_nets.scans.dicom_series import RAS
from tests.scans.dicom_files import PERSONAL, write_series


@pytest.fixture(scope="module")
def series(simulated, tmp_path_factory):
    """A simulated scan as DICOM, in a folder named study."""
    image = nib.load(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    voxels = np.asanyarray(image.dataobj)
    whole = np.rint(voxels / voxels.max() * 4000).astype(np.uint16)
    folder = tmp_path_factory.mktemp("dicom") / "study"
    write_series(folder, voxels=whole[:, ::-1], lps=RAS @ image.affine @ flip(whole.shape[1]))
    return folder


def flip(count):
    """The second axis the other way, which makes RAS voxels LPS ones to DICOM's right hand."""
    turn = np.diag([1.0, -1.0, 1.0, 1.0])
    turn[1, 3] = count - 1
    return turn


@pytest.fixture(scope="module")
def done(runs, series, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    options = {"checkpoint": runs["agmr_net"], "method": "agmr_net", "skip_registration": True}
    summary = stroke_nets.predict(series, out, sr=True, **options)
    return out, summary, options


def test_the_segmentation_is_the_mask(done):
    out, summary, _ = done
    mask = nib.load(out / "sub-study" / "anat" / "sub-study_desc-agmrnet_mask.nii.gz")
    voxels = np.asanyarray(mask.dataobj)
    assert voxels.any()
    read = highdicom.seg.segread(out / "sub-study" / "anat" / "sub-study_desc-agmrnet_seg.dcm")
    volume = read.get_volume(segment_numbers=[1])
    affine = RAS @ volume.affine
    places = nib.affines.apply_affine(mask.affine, np.argwhere(np.ones_like(voxels)))
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), places)).astype(int)
    np.testing.assert_allclose(nib.affines.apply_affine(affine, index), places, atol=1e-3)
    np.testing.assert_array_equal(volume.array[..., 0][tuple(index.T)], voxels.ravel())
    report = highdicom.sr.srread(out / "sub-study" / "anat" / "sub-study_desc-agmrnet_sr.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.get_measurements()[0].value == summary["cases"][0]["total_ml"]


def test_patient_data_are_in_the_dicom_files_only(done):
    out, _, _ = done
    files = [path for path in out.rglob("*") if path.is_file()]
    named = json.loads(next(out.rglob("*_mask.json")).read_text())["Files"]
    assert {named["seg"], named["sr"]} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content = nib.load(path).to_bytes()
        found = [word for word in PERSONAL if word.encode() in content]
        assert (path.suffix == ".dcm") == bool(found), (path.name, found)


def test_the_same_series_again_is_kept(done, series):
    out, summary, options = done
    mark = next(out.rglob("*_seg.dcm")).stat().st_mtime_ns
    assert stroke_nets.predict(series, out, sr=True, **options) == summary
    assert next(out.rglob("*_seg.dcm")).stat().st_mtime_ns == mark


def test_a_report_needs_dicom(runs, simulated, tmp_path):
    scan = next(simulated.glob("sub-1/**/*_T1w.nii.gz"))
    with pytest.raises(UsageError, match="is no DICOM, of which alone it reports"):
        stroke_nets.predict(scan, tmp_path, sr=True, checkpoint=runs["agmr_net"], method="agmr_net")


def test_a_series_that_is_refused_is_named_without_its_patient(runs, tmp_path):
    write_series(tmp_path / "study", left_out=(5,))
    with pytest.raises(DataError, match="study: slices are missing or unevenly spaced"):
        stroke_nets.predict(
            tmp_path / "study", tmp_path / "out", checkpoint=runs["agmr_net"], method="agmr_net"
        )
    text = (tmp_path / "out" / "summary.json").read_text()
    assert not any(word in text for word in PERSONAL)


def test_a_mask_like_its_scan_equals_the_nifti(runs, simulated, tmp_path):
    image = nib.load(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    nib.save(
        nib.freesurfer.MGHImage(image.get_fdata(dtype=np.float32), image.affine),
        tmp_path / "sub-1_T1w.mgz",
    )
    options = {"checkpoint": runs["agmr_net"], "method": "agmr_net", "skip_registration": True}
    stroke_nets.predict(tmp_path / "sub-1_T1w.mgz", tmp_path / "out", like=True, **options)
    (like,), (mask,) = (
        sorted((tmp_path / "out").rglob(f"*_mask.{end}")) for end in ("mgz", "nii.gz")
    )
    np.testing.assert_array_equal(*(np.asanyarray(nib.load(one).dataobj) for one in (like, mask)))
    np.testing.assert_allclose(nib.load(like).affine, nib.load(mask).affine, atol=1e-4)
    (found,) = lesion_masks(tmp_path / "out")
    assert found.path == mask
