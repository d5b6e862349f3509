"""Rows F25 and L10: what is taken for a scan, by every tool alike."""

import json
import logging

import numpy as np
import pytest

from stroke_nets.datasets import manifest
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.inputs import find_scans
from stroke_nets.scans.check import check
from stroke_nets.scans.discovery import scans_below

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


def test_L10_a_mask_under_any_name_is_no_scan(tmp_path):
    scans.save(tmp_path / "patient_gt.nii.gz", scans.mask() * 255)
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
