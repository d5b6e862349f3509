"""Rows D1 to D9, and the command that reports every row."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from stroke_nets.cli import main
from stroke_nets.datasets import manifest
from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.errors import DataError, UsageError
from stroke_nets.scans.check import Rules, as_table, check, require_fit
from stroke_nets.scans.formats import READ
from stroke_nets.scans.writer import mask_path
from stroke_nets.transforms.load_scan import LoadScand

from .scans import mask, save, voxels


def add(root, subject, session=None, seed=0):
    """A scan and its mask as BIDS."""
    folder = "/".join(filter(None, (subject, session)))
    stem = root / folder / "anat" / folder.replace("/", "_")
    save(stem.with_name(f"{stem.name}_T1w.nii.gz"), voxels() + np.int16(seed))
    save(stem.with_name(f"{stem.name}_mask.nii.gz"), mask())


@pytest.fixture
def tree(tmp_path):
    """Two people, one scanned twice, with a manifest of two folds."""
    root = tmp_path / "data"
    add(root, "sub-1", "ses-1", 1)
    add(root, "sub-1", "ses-2", 2)
    add(root, "sub-2", seed=3)
    (root / "dataset_description.json").write_text("{}")
    out = root / "manifest.json"
    from_folder(root, image="**/*_T1w.nii.gz", label="_mask.nii.gz", out=out, folds=2)
    return root


def rewrite(root, change):
    """Change the manifest's content in place."""
    content = json.loads((root / "manifest.json").read_text())
    change(content["records"])
    (root / "manifest.json").write_text(json.dumps(content))
    return root / "manifest.json"


def found(path, **options):
    return [(f.row, f.what) for f in check(path, **options)]


def test_good_data_pass(tree):
    assert found(tree) == found(tree / "manifest.json") == []
    (tree / "manifest.json").unlink()
    assert found(tree, bids=True) == []


def test_D1_duplicate_subject(tree):
    path = rewrite(tree, lambda records: records[2].update(subject="sub-1", session="ses-1"))
    (row, what), *_ = found(path)
    assert row == "D1"
    assert "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz" in what
    assert "sub-2/anat/sub-2_T1w.nii.gz" in what


def test_D1_subject_in_two_folders(tree, tmp_path):
    shutil.copytree(tree / "sub-2", tmp_path / "data" / "site" / "sub-2")
    (tree / "manifest.json").unlink()
    (row, what), *_ = found(tree)
    assert row == "D1"
    assert "sub-2" in what


def test_D2_sessions_in_several_folds(tree):
    path = rewrite(tree, lambda records: records[0].update(fold=1 - records[1]["fold"]))
    ((row, what),) = found(path)
    assert row == "D2"
    assert "ses-1_T1w.nii.gz in" in what
    assert "ses-2_T1w.nii.gz in" in what


def test_D3_same_bytes_under_two_subjects(tree):
    one, two = "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz"
    shutil.copy(tree / one, tree / two)
    path = rewrite(tree, lambda records: records[2]["sha256"].update(records[0]["sha256"]))
    ((row, what),) = found(path)
    assert row == "D3"
    assert one in what
    assert two in what
    path.unlink()
    assert [row for row, _ in found(tree)] == ["D3"]


def test_D4_train_and_test_overlap(tree):
    def split(records):
        for record, part in zip(records, ("train", "test", "train"), strict=True):
            del record["fold"]
            record["split"] = part

    ((row, what),) = found(rewrite(tree, split))
    assert row == "D4"
    assert "in train" in what
    assert "in test" in what


def test_D5_every_missing_label_is_listed(tree):
    def forget(records):
        del records[0]["label"], records[2]["label"]

    path = rewrite(tree, forget)
    rows = found(path)
    assert [row for row, _ in rows] == ["D5", "D5"]
    assert "sub-1 ses-1" in rows[0][1]
    assert "sub-2" in rows[1][1]
    with pytest.raises(DataError, match="label"):
        manifest.read(path)


@pytest.mark.parametrize("outside", ["../../x.nii.gz", "/etc/x.nii.gz", "C:/x.nii.gz"])
def test_D6_path_outside_the_root(tree, outside):
    path = rewrite(tree, lambda records: records[0].update(image=outside))
    ((row, what),) = found(path)
    assert row == "D6"
    assert outside in what
    with pytest.raises(DataError, match="leaves the data root"):
        manifest.datalist(str(tree))


def test_D7_not_a_bids_tree(tree, tmp_path):
    (tree / "manifest.json").unlink()
    (tree / "dataset_description.json").unlink()
    assert found(tree, bids=True) == [("D7", "not a BIDS tree: no dataset_description.json")]
    save(tmp_path / "flat" / "a.nii")
    assert [row for row, _ in found(tmp_path / "flat", bids=True)] == ["D7", "D7"]
    (tmp_path / "empty").mkdir()
    assert found(tmp_path / "empty") == [("D7", "no file ends in " + ", ".join(READ))]


def test_D8_the_tree_is_mirrored(tmp_path):
    for i, folder in enumerate("ab"):
        save(tmp_path / folder / "scan.nii.gz", voxels() + np.int16(i))
    cases = manifest.datalist(str(tmp_path))
    masks = [mask_path(Path("run"), case["record"]["image"]) for case in cases]
    assert len(set(masks)) == 2
    require_fit(cases)
    save(tmp_path / "a" / "scan.nii", voxels() + np.int16(5))
    assert [row for row, _ in found(tmp_path)] == ["D8"]
    with pytest.raises(DataError, match=r"scan\.nii\.gz: its mask would have the name"):
        require_fit(manifest.datalist(str(tmp_path)))


def test_D9_changed_data(tree):
    changed = tree / "sub-2/anat/sub-2_mask.nii.gz"
    save(changed, np.roll(mask(), 1))
    ((row, _),) = found(tree)
    assert row == "D9"
    cases = manifest.datalist(str(tree))
    with pytest.raises(DataError, match=r"sub-2_mask\.nii\.gz: its SHA-256"):
        LoadScand(["image", "label"])(cases[2])
    with pytest.raises(DataError, match="SHA-256"):
        require_fit(cases)


def test_unlabelled_scans_are_kept_apart(tree):
    def strip(records):
        for key in ("label", "lesion_voxels", "lesion_ml", "fold"):
            del records[2][key]
        records[2]["split"] = "unlabelled"

    assert found(rewrite(tree, strip)) == []
    parts = {p: len(manifest.datalist(str(tree), p)) for p in ("all", "unlabelled")}
    assert parts == {"all": 2, "unlabelled": 1}


def test_a_mask_is_compared_with_the_scan_it_was_drawn_on(tmp_path):
    """As ARC keeps them: the mask in another folder, named after its T2w, beside it a T1w."""
    stem = "sub-1/ses-7/anat/sub-1_ses-7"
    save(tmp_path / f"{stem}_acq-a_T1w.nii.gz")
    save(tmp_path / f"{stem}_acq-b_T2w.nii.gz", voxels((5, 5, 5)))
    drawn = tmp_path / "derivatives" / "lesion_masks" / f"{stem}_acq-b_T2w_desc-lesion_mask.nii.gz"
    save(drawn, mask((5, 5, 5)))
    assert found(tmp_path) == []
    save(drawn, mask((5, 5, 6)))
    assert [row for row, _ in found(tmp_path)] == ["G4"]


def test_all_problems_are_reported_at_once(tree):
    for name, row in (("sub-1/ses-1/anat/sub-1_ses-1", "F8"), ("sub-2/anat/sub-2", "L9")):
        path = tree / f"{name}_mask.nii.gz"
        save(path, voxels()) if row == "L9" else path.write_bytes(b"")
    (tree / "manifest.json").unlink()
    findings = check(tree)
    assert sorted(f.row for f in findings) == ["F8", "L9"]
    head, *lines = as_table(findings).splitlines()
    assert head.split() == ["file", "row", "what", "how", "to", "fix"]
    assert all(f.fix in "\n".join(lines) and f.file in "\n".join(lines) for f in findings)


def test_no_such_path_is_usage(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        check(tmp_path / "nowhere")


def test_command(tree, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stroke-nets", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    assert run(tree) == (0, "0 problems\n", "")
    save(tree / "sub-2/anat/sub-2_T1w.nii", magic=b"bad")
    code, out, err = run(tree / "sub-2", "--json")
    assert (code, err) == (3, "")
    assert {f["row"] for f in json.loads(out)} == {"F17", "D8"}
    code, out, _ = run(tree / "sub-2")
    assert code == 3
    assert "F17" in out
    assert out.splitlines()[-1] == "2 problems"
    code, out, err = run(tmp_path / "nowhere")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert run(tree, "--orientation", "XYZ")[0] == 2


def test_rules_pass_empty_masks_and_tell_orientation(tmp_path):
    save(tmp_path / "a.nii", qform_code=0, sform_code=0)
    assert [row for row, _ in found(tmp_path)] == ["G9"]
    assert found(tmp_path, rules=Rules(orientation="RAS")) == []


def test_F12_a_folder_named_as_a_scan_is_found(tmp_path):
    (tmp_path / "scan.nii.gz").mkdir()
    (finding,) = check(tmp_path)
    assert (finding.row, finding.what) == ("F12", "a folder, not a file")
