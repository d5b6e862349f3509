import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.derivative import entities, fits, is_derivative
from stroke_nets.evaluation.evaluate import evaluate_folder
from stroke_nets.pages.run_report import write_report

SHAPE = (8, 9, 7)
SPACE = "space-MNI152NLin2009aSym"


def save(path, stop, dtype=np.uint8):
    """A lesion that ends at ``stop``, in a scan or mask of its own."""
    voxels = np.zeros(SHAPE, dtype)
    voxels[1:stop, 2:5, 3] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


@pytest.fixture
def folders(tmp_path):
    """What ``predict`` writes for two sessions and two more scans, and two true masks."""
    data, out = tmp_path / "data", tmp_path / "predictions"
    for session in (1, 2):
        stem = f"sub-1/ses-{session}/anat/sub-1_ses-{session}"
        scan = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
        (data / stem).parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(scan + session, np.eye(4)), data / f"{stem}_T1w.nii.gz")
        save(data / f"{stem}_label-lesion_mask.nii.gz", 5)
        save(out / f"{stem}_desc-agmrnet_mask.nii.gz", 2 + session)
        save(out / f"{stem}_desc-agmrnet_probseg.nii.gz", 5, np.float32)
        save(out / f"{stem}_{SPACE}_desc-agmrnet_mask.nii.gz", 7)
    save(out / "sub-2" / "anat" / "sub-2_desc-agmrnet_mask.nii.gz", 5)
    save(out / "sub-1" / "ses-1" / "anat" / "sub-1_ses-1_label-brain_mask.nii.gz", 5)
    (out / "dataset_description.json").write_text(json.dumps({"DatasetType": "derivative"}))
    return out, data, tmp_path / "evaluation"


def test_masks_are_found_by_subject_session_and_space(folders, capsys):
    evaluate_folder(*folders)
    cases = pd.read_csv(folders[2] / "cases.csv")
    np.testing.assert_allclose(cases["dice"], [2 * 2 / 6, 2 * 3 / 7])
    assert list(cases["prediction"].str.extract(r"(ses-\d)_desc")[0]) == ["ses-1", "ses-2"]
    assert "lesion masks of other scans or spaces, left out: 3" in capsys.readouterr().out


def test_masks_of_diffusion_are_found_in_its_folders(folders):
    for folder in folders[:2]:
        for anat in [*folder.glob("**/anat")]:
            anat.rename(anat.with_name("dwi"))
    evaluate_folder(*folders)
    assert len(pd.read_csv(folders[2] / "cases.csv")) == 2


def test_a_manifest_gives_a_report_with_pictures(folders):
    path = folders[1] / "manifest.json"
    from_folder(
        folders[1], image="**/*_T1w.nii.gz", label="_label-lesion_mask.nii.gz", out=path, folds=None
    )
    evaluate_folder(folders[0], path, folders[2])
    assert len(pd.read_csv(folders[2] / "cases.csv")) == 2
    assert write_report(folders[2], folders[1]).read_text().count("data:image/png") == 2


def test_several_methods_are_told_apart_by_desc(folders):
    for session in (1, 2):
        name = f"sub-1/ses-{session}/anat/sub-1_ses-{session}_desc-ensemble_mask.nii.gz"
        save(folders[0] / name, 5)
    with pytest.raises(DataError, match=r"several masks fit: .*agmrnet.*ensemble.*--desc"):
        evaluate_folder(*folders)
    evaluate_folder(*folders, desc="ensemble")
    assert list(pd.read_csv(folders[2] / "cases.csv")["dice"]) == [1, 1]


def test_a_missing_mask_is_listed_and_nothing_is_written(folders):
    (folders[0] / "sub-1/ses-2/anat/sub-1_ses-2_desc-agmrnet_mask.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 problems.*\n.*\n.*ses-2.*no prediction; expected"):
        evaluate_folder(*folders)
    assert list(folders[2].iterdir()) == []


def test_scans_without_bids_names_are_found_as_predict_names_them(tmp_path):
    out = tmp_path / "predictions"
    save(tmp_path / "truth" / "p 1" / "T1.nii.gz", 5)
    save(tmp_path / "truth" / "case_7.nii", 5)
    save(out / "sub-p1T1" / "anat" / "sub-p1T1_desc-agmrnet_mask.nii.gz", 5)
    save(out / "sub-case7" / "anat" / "sub-case7_desc-agmrnet_mask.nii.gz", 5)
    (out / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [{"Name": "x"}]}))
    evaluate_folder(out, tmp_path / "truth", tmp_path / "evaluation")
    assert list(pd.read_csv(tmp_path / "evaluation" / "cases.csv")["dice"]) == [1, 1]


@pytest.mark.parametrize(
    ("mask", "scan", "fit"),
    [
        ("sub-1_desc-x_mask", "sub-1_T1w", True),
        ("sub-1_T1w_label-lesion_roi", "sub-1_T1w", True),
        ("sub-1_run-1_desc-x_mask", "sub-1_label-lesion_mask", True),
        ("sub-1_run-1_desc-x_mask", "sub-1_run-2_T1w", False),
        ("sub-1_ses-1_desc-x_mask", "sub-1_T1w", False),
        (f"sub-1_{SPACE}_desc-x_mask", "sub-1_T1w", False),
        (f"sub-1_{SPACE}_desc-x_mask", f"sub-1_{SPACE}_T1w", True),
        ("sub-11_desc-x_mask", "sub-1_T1w", False),
    ],
)
def test_which_mask_is_of_which_scan(mask, scan, fit):
    assert fits(*(entities(f"{name}.nii.gz") for name in (mask, scan))) is fit


def test_a_damaged_description_and_desc_without_bids_are_refused(folders):
    (folders[0] / "dataset_description.json").write_text("{")
    with pytest.raises(DataError, match="restore it"):
        is_derivative(folders[0])
    (folders[0] / "dataset_description.json").unlink()
    with pytest.raises(UsageError, match="is no BIDS derivative"):
        evaluate_folder(*folders, desc="agmrnet")
