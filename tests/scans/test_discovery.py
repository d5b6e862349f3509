"""Rows F25 and L10: what is taken for a scan, by every tool alike."""

import json
import logging
import shutil

import numpy as np
import pytest

from stroke_nets.datasets import manifest
from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.evaluate import evaluate_folder
from stroke_nets.inference.inputs import find_scans
from stroke_nets.scans.check import Rules, check, check_folder, require_fit
from stroke_nets.scans.discovery import identity, scans_below
from stroke_nets.scans.reader import read_scan

from . import scans


@pytest.fixture
def tree(tmp_path):
    """Two patients among copies, older predictions and other modalities."""
    root = tmp_path / "data"
    for name in (
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "sub-2/func/sub-2_bold.nii.gz",
        "sub-2/anat/._sub-2_T1w.nii.gz",
        "__MACOSX/sub-2/anat/sub-2_T1w.nii.gz",
        ".git/annex/objects/sub-2_T1w.nii.gz",
        "sub-1/anat/.partial_x/sub-1_T1w.nii.gz",
        "first/sub-1/anat/sub-1_space-MNI152NLin2009aSym_T1w.nii.gz",
    ):
        number = float("sub-2" in name)
        scans.save(root / name, scans.voxels(dtype=np.float32) + number)
    content = {"GeneratedBy": [{"Name": "stroke-nets"}]}
    (root / "first" / "dataset_description.json").write_text(json.dumps(content))
    return root


def test_F25_copies_and_older_predictions_are_no_scans_for_any_tool(tree, caplog):
    expected = [f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in (1, 2)]
    found, left_out = scans_below(tree)
    assert [path.relative_to(tree).as_posix() for path in found] == expected
    reasons = sorted(finding.what for finding in left_out)
    assert [what.split(":")[0] for what in reasons] == ["1 image left out"] * 2 + [
        "4 images left out"
    ]
    assert [scan.source for scan in find_scans(tree, tree / "out")] == expected
    assert [case["record"]["image"] for case in manifest.datalist(str(tree))] == expected
    assert not [finding for finding in check(tree) if not finding.notice]
    assert "4 images left out: hidden, or a copy of macOS" in caplog.text
    assert "older predictions" in caplog.text


def test_F25_a_scan_that_is_named_as_a_mask_is_said(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    scans.save(tmp_path / "in" / "lesion_001_T1.nii.gz")
    scans.save(tmp_path / "in" / "b.nii.gz")
    assert len(find_scans(tmp_path / "in", tmp_path / "out")) == 1
    assert "named as masks, such as lesion_001_T1.nii.gz" in caplog.text
    (tmp_path / "in" / "b.nii.gz").unlink()
    with pytest.raises(UsageError, match="no file that ends in"):
        find_scans(tmp_path / "in", tmp_path / "out")


def test_F13_dicom_files_named_by_their_uids_are_said(tmp_path):
    scans.save(tmp_path / "a.nii.gz")
    (tmp_path / "1.3.12.2.1107.5").write_bytes(bytes(128) + b"DICM")
    _, (finding,) = scans_below(tmp_path)
    assert (finding.row, finding.what) == ("F13", "DICOM")


def test_L10_a_mask_under_any_name_is_no_scan(tmp_path):
    scans.save(tmp_path / "patient_stroke.nii.gz", scans.mask() * 255)
    (problem,) = check(tmp_path)
    assert problem.row == "L10"
    assert problem.what == "a mask, not a scan: it holds only 0 and 255"


def test_D2_D3_training_refuses_what_check_refuses(tmp_path):
    records = []
    for number, subject in enumerate(("sub-1", "sub-1", "sub-2")):
        image, label = f"{number}/s{number}_T1w.nii.gz", f"{number}/s{number}_mask.nii.gz"
        scans.save(tmp_path / image, scans.voxels(dtype=np.float32) + number % 2)
        scans.save(tmp_path / label, scans.mask())
        record = manifest.describe(tmp_path, subject=subject, image=image, label=label)
        records.append(record | {"session": f"ses-{number}", "fold": number % 2})
    path = tmp_path / "manifest.json"
    manifest.write(path, name="x", licence="unknown", records=records, provenance={})
    rows = {finding.row for finding in check(path)}
    assert rows == {"D2", "D3"}
    with pytest.raises(DataError, match="keep them together"):
        manifest.datalist(str(tmp_path), "train")
    assert manifest.datalist(str(tmp_path), "heldout")


def test_D1_two_runs_of_a_session_are_one_subject(tmp_path):
    records = []
    for run in (1, 2):
        image, label = (f"sub-1/sub-1_run-{run}_{end}.nii.gz" for end in ("T1w", "mask"))
        scans.save(tmp_path / image, scans.voxels(dtype=np.float32) + run)
        scans.save(tmp_path / label, scans.mask())
        records.append(manifest.describe(tmp_path, subject="sub-1", image=image, label=label))
        records[-1]["fold"] = 0
    path = tmp_path / "manifest.json"
    manifest.write(path, name="x", licence="unknown", records=records, provenance={})
    assert check(path) == []


TREES = {
    "imagesTr/case_00{}_0000.nii.gz": "labelsTr/case_00{}.nii.gz",  # nnU-Net
    "images/p{}.nii.gz": "masks/p{}.nii.gz",
    "train/images/p{}.nii.gz": "train/labels/p{}.nii.gz",
    "images/p{}/T1.nii.gz": "labels/p{}/lesion.nii.gz",
    "T1/patient{}.nii.gz": "Segmentations/patient{}_seg.nii.gz",
    "p{}_T1.nii.gz": "p{}_lesion.nii.gz",
    "all/T1_{}.nii.gz": "all/mask_{}.nii.gz",
    "p{}/T1.nii.gz": "p{}/lesion.nii.gz",
    "sub-{0}/anat/sub-{0}_T1w.nii.gz": "derivatives/manual/sub-{0}/anat/sub-{0}_mask.nii.gz",
    "sub-{0}/ses-1/sub-{0}_ses-1_T1w.nii.gz": "derivatives/manual/sub-{0}/sub-{0}_mask.nii.gz",
}


def plant(root, image, label, shift):
    """Two patients in places of their own, as two scanners leave them; the first mask is moved."""
    for number in (1, 2):
        place = scans.affine()
        place[0, 3] += 7 * number
        values = scans.voxels(dtype=np.float32) + number
        scans.save(root / image.format(number), values, place)
        place[0, 3] += shift if number == 1 else 0
        lesion = np.roll(scans.mask(), number, axis=0)
        scans.save(root / label.format(number), lesion, place)


@pytest.mark.parametrize(("image", "label"), TREES.items())
def test_G5_L10_W3_masks_are_found_and_compared_in_any_tree(image, label, tmp_path, caplog):
    root = tmp_path / "moved"
    plant(root, image, label, 40.0)
    (problem,) = check(root)
    assert (problem.row, problem.file) == ("G5", str(root / label.format(1)))
    assert len(find_scans(root, tmp_path / "out")) == 2
    plant(tmp_path / "right", image, label, 0.0)
    assert check(tmp_path / "right") == []


def test_G5_a_mask_that_fits_only_another_patients_scan_is_found(tmp_path):
    plant(tmp_path, "p{}_T1.nii.gz", "p{}_lesion.nii.gz", 7.0)  # onto the other's grid
    assert [problem.row for problem in check(tmp_path)] == ["G5"]


def test_G5_a_mask_that_fits_only_another_sessions_scan_is_found(tmp_path):
    names = "sub-1_ses-{}_T1w.nii.gz", "sub-1_ses-{}_mask.nii.gz"
    plant(tmp_path, *names, 7.0)  # all in one folder, onto the other's grid
    assert [problem.row for problem in check(tmp_path)] == ["G5"]


@pytest.mark.parametrize(
    ("scan", "subject", "session"),
    [
        ("sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w.nii.gz", "sub-1", "ses-2"),
        ("sub-1_ses-2_T1w.nii.gz", "sub-1", "ses-2"),
        ("all/sub-1.nii.gz", "sub-1", None),
        ("p1/T1.nii.gz", "p1", None),
        ("p1/ses-2_T1.nii.gz", "p1", "ses-2"),
        ("T1.nii.gz", "T1", None),
    ],
)
def test_subject_and_session_are_those_of_folders_or_names(scan, subject, session):
    assert identity(scan) == (subject, session)


def test_check_takes_the_derivatives_of_other_programs_for_what_they_are(tmp_path):
    plant(tmp_path, "sub-{0}/anat/sub-{0}_T1w.nii.gz", "sub-{0}/anat/sub-{0}_mask.nii.gz", 0.0)
    derived = tmp_path / "derivatives" / "other" / "sub-1" / "anat"
    scans.save(derived / "sub-1_T1w.nii.gz", scans.voxels(dtype=np.float32) * 2)
    scans.save(derived / "sub-1_label-GM_probseg.nii.gz", scans.voxels(dtype=np.float32) / 9)
    assert [problem for problem in check(tmp_path) if not problem.notice] == []


def test_check_looks_at_the_t1w_scans_of_several_data_sets_alone(tmp_path):
    looked = []
    for name in ("one/sub-1/anat/sub-1_T1w", "one/sub-1/anat/sub-1_FLAIR", "two/a"):
        scans.save(tmp_path / f"{name}.nii.gz")

    def look(scan):
        looked.append(scan.path.name)
        return []

    check_folder(tmp_path, False, Rules(look=look))
    assert sorted(looked) == ["a.nii.gz", "sub-1_T1w.nii.gz"]


def test_G20_masks_that_fit_no_scan_are_said(tmp_path):
    scans.save(tmp_path / "images" / "a.nii.gz")
    scans.save(tmp_path / "masks" / "b.nii.gz", scans.mask())
    (notice,) = check(tmp_path)
    assert notice.notice
    assert "no scan fits the names of 1 masks, such as b.nii.gz" in notice.what


@pytest.mark.parametrize(
    ("tree", "image", "label"),
    [
        ("imagesTr/case_00{}_0000.nii.gz", "imagesTr/*_0000.nii.gz", "labelsTr/*.nii.gz"),
        (
            "sub-{0}/anat/sub-{0}_T1w.nii.gz",
            "**/*_T1w.nii.gz",
            "derivatives/manual/**/*_mask.nii.gz",
        ),
        ("images/p{}/T1.nii.gz", "images/**/T1.nii.gz", "labels/**/lesion.nii.gz"),
        ("p{}_T1.nii.gz", "p*_T1.nii.gz", "_lesion.nii.gz"),
        ("p{}_T1.nii.gz", "p*_T1.nii.gz", "p*_lesion.nii.gz"),
    ],
)
def test_W8_masks_of_a_manifest_may_lie_in_another_folder(tree, image, label, tmp_path):
    plant(tmp_path, tree, TREES[tree], 0.0)
    out = tmp_path / "m.json"
    assert from_folder(tmp_path, image=image, label=label, out=out, folds=2) == 2
    records = manifest.read(out)
    expected = [TREES[tree].format(number) for number in (1, 2)]
    assert [record["label"] for record in records] == expected
    assert len({record["subject"] for record in records}) == 2  # also where all share a folder


def test_W8_sessions_in_the_names_of_one_folder_keep_a_subject_each(tmp_path):
    plant(tmp_path, "all/p.{0}_ses-{0}_T1.nii.gz", "all/p.{0}_ses-{0}_lesion.nii.gz", 0.0)
    out = tmp_path / "m.json"
    from_folder(tmp_path, image="**/*_T1.nii.gz", label="_lesion.nii.gz", out=out, folds=2)
    assert [record["subject"] for record in manifest.read(out)] == ["p.1_ses-1_T1", "p.2_ses-2_T1"]


def test_W8_several_scans_of_a_folder_are_said_to_be_one_subjects(tmp_path, caplog):
    plant(tmp_path, "one/p{}_T1.nii.gz", "one/p{}_lesion.nii.gz", 0.0)
    scans.save(tmp_path / "two" / "p3_T1.nii.gz", scans.voxels(dtype=np.float32) + 3)
    scans.save(tmp_path / "two" / "p3_lesion.nii.gz", scans.mask())
    out = tmp_path / "m.json"
    from_folder(tmp_path, image="**/*_T1.nii.gz", label="_lesion.nii.gz", out=out, folds=2)
    assert [record["subject"] for record in manifest.read(out)] == ["one", "one", "two"]
    (said,) = [line for line in caplog.messages if "one subject" in line]
    assert said.startswith("one: the 2 scans")


def test_W8_linked_subjects_are_listed(tmp_path):
    plant(tmp_path / "store", "p{}/T1.nii.gz", "p{}/lesion.nii.gz", 0.0)
    (tmp_path / "data").mkdir()
    for number in (1, 2):
        (tmp_path / "data" / f"p{number}").symlink_to(tmp_path / "store" / f"p{number}")
    how = {"image": "**/T1.nii.gz", "label": "**/lesion.nii.gz", "out": tmp_path / "m.json"}
    assert from_folder(tmp_path / "data", **how, folds=2) == 2


def test_W8_all_masks_that_are_missing_are_named_at_once(tmp_path):
    plant(tmp_path, "p{}_T1.nii.gz", "p{}_lesion.nii.gz", 0.0)
    for number in (1, 2):
        (tmp_path / f"p{number}_lesion.nii.gz").unlink()
    how = {"image": "*_T1.nii.gz", "label": "_lesion.nii.gz", "out": tmp_path / "m.json"}
    with pytest.raises(DataError) as caught:
        from_folder(tmp_path, **how, folds=2)
    for number in (1, 2):
        assert f"p{number}_lesion.nii.gz: no such file" in str(caught.value)


@pytest.mark.parametrize("folder", ["__MACOSX", ".git/annex/objects"])
def test_W3_a_manifest_lists_no_copies(folder, tmp_path):
    plant(tmp_path, "p{}_T1.nii.gz", "p{}_lesion.nii.gz", 0.0)
    plant(tmp_path / folder, "p{}_T1.nii.gz", "p{}_lesion.nii.gz", 0.0)
    plant(tmp_path, "._p{}_T1.nii.gz", "._p{}_lesion.nii.gz", 0.0)
    how = {"image": "**/*_T1.nii.gz", "label": "_lesion.nii.gz", "out": tmp_path / "m.json"}
    assert from_folder(tmp_path, **how, folds=2) == 2


BAD = {  # what is wrong with a mask: its row
    "G5": lambda array, matrix: (array, matrix + np.outer([40, 0, 0, 0], [0, 0, 0, 1])),
    "G4": lambda array, matrix: (array[1:], matrix),
    "L9": lambda array, matrix: (scans.voxels(), matrix),
    "L7": lambda array, matrix: (array * 2, matrix),
    "G19": lambda array, matrix: (array, np.diag([1e-3, 1e-3, 1e-3, 1]) @ matrix),
}


@pytest.mark.parametrize("row", BAD)
def test_W4_check_manifest_training_and_evaluate_refuse_the_same_masks(row, tmp_path):
    data, truth = tmp_path / "data", tmp_path / "truth"
    plant(data, "p{}_T1.nii.gz", "p{}_lesion.nii.gz", 0.0)
    path = data / "manifest.json"
    how = {"image": "*_T1.nii.gz", "label": "_lesion.nii.gz", "out": path, "folds": 2}
    from_folder(data, **how)
    image = read_scan(data / "p1_lesion.nii.gz").image
    truth.mkdir()
    shutil.copy(data / "p1_lesion.nii.gz", truth / "p1.nii.gz")
    scans.save(data / "p1_lesion.nii.gz", *BAD[row](np.asarray(image.dataobj), image.affine))
    assert row in {finding.row for finding in check_folder(data, False, Rules())}
    with pytest.raises(DataError):
        from_folder(data, **how | {"out": tmp_path / "m.json"})
    with pytest.raises(DataError):
        require_fit(manifest.datalist(str(data)))
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    shutil.copy(data / "p1_lesion.nii.gz", predictions / "p1.nii.gz")
    with pytest.raises(DataError, match=r"p1\.nii\.gz"):
        evaluate_folder(predictions, truth, tmp_path / "figures")
