import json
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from stroke_nets.datasets import manifest
from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.errors import DataError, UsageError
from stroke_nets.scans.reader import sha256

MANIFESTS = Path(__file__).parents[2] / "data_manifests"


def test_shipped_manifest_fits_the_schema():
    schema = json.loads((MANIFESTS / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads((MANIFESTS / "simulated.json").read_text())
    jsonschema.validate(content, schema)
    assert len(content["records"]) == 20


def test_records_are_measured(simulated):
    record = manifest.read(simulated / "manifest.json")[0]
    mask = nib.load(simulated / record["label"])
    voxels = int((np.asarray(mask.dataobj) > 0).sum())
    assert record["lesion_voxels"] == voxels
    assert record["lesion_ml"] == pytest.approx(voxels * 4 * 4 * 16 / 1000, abs=1e-4)  # rounded
    assert len(record["sha256"]["image"]) == 64


def test_folds_hold_out_each_case_once(simulated):
    held = [manifest.datalist(str(simulated), "heldout", fold=k) for k in (0, 1)]
    train = manifest.datalist(str(simulated), "train", fold=0)
    names = [[case["image"] for case in part] for part in (*held, train)]
    assert sorted(names[0] + names[1]) == sorted(
        case["image"] for case in manifest.datalist(str(simulated))
    )
    assert sorted(names[1]) == sorted(names[2])


def test_sessions_of_a_subject_share_a_fold(tmp_path):
    for subject in range(4):
        for session in (1, 2):
            folder = tmp_path / f"sub-{subject}" / f"ses-{session}"
            folder.mkdir(parents=True)
            scan = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) + 8 * subject
            for name, voxels in (("a_T1w", scan), ("a_mask", scan % 2)):
                nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{name}.nii.gz")
    out = tmp_path / "m.json"
    glob = {"image": "**/*_T1w.nii.gz", "label": "_mask.nii.gz"}
    assert from_folder(tmp_path, **glob, out=out, folds=2) == 8
    folds: dict[str, set[int]] = {}
    for record in manifest.read(out):
        folds.setdefault(record["subject"], set()).add(record["fold"])
    assert [len(found) for found in folds.values()] == [1] * 4
    with pytest.raises(UsageError, match="there are 4 subjects"):
        from_folder(tmp_path, **glob, out=out, folds=5)


@pytest.mark.parametrize("path", ["../x.nii.gz", "/etc/x.nii.gz"])
def test_paths_stay_inside_the_data_root(tmp_path, path):
    record = {
        "subject": "a",
        "image": path,
        "label": "b.nii",
        "sha256": {"image": "0" * 64, "label": "0" * 64},
        "lesion_voxels": 0,
        "lesion_ml": 0,
        "fold": 0,
    }
    out = tmp_path / "manifest.json"
    manifest.write(out, name="x", licence="none", records=[record], provenance={})
    with pytest.raises(DataError, match="leaves the data root"):
        manifest.datalist(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}'])
def test_other_json_is_not_a_manifest(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: not"):
        manifest.read(path)


def test_refold_changes_nothing_but_the_folds(simulated, tmp_path):
    path, out = simulated / "manifest.json", tmp_path / "new.json"
    before = path.read_bytes()
    assert manifest.refold(path, out, folds=4, seed=1) == [1, 1, 1, 1]
    assert path.read_bytes() == before
    old, new = json.loads(before), json.loads(out.read_text())
    assert sorted(record.pop("fold") for record in new["records"]) == [0, 1, 2, 3]
    for record in old["records"]:
        del record["fold"]
    assert new["records"] == old["records"]
    assert new["provenance"].pop("folds") == {"method": "size_balanced", "folds": 4, "seed": 1}
    assert old["provenance"] == new["provenance"] | {"folds": 2, "seed": 0}


def test_refold_takes_over_a_published_list_in_place(simulated, tmp_path):
    path, lists = tmp_path / "manifest.json", tmp_path / "lists.json"
    path.write_bytes((simulated / "manifest.json").read_bytes())
    lists.write_text('[["1_ses-1"], ["2", "3"], ["sub-4"]]')
    assert manifest.refold(path, path, published=lists) == [1, 2, 1]
    folds = {record["subject"]: record["fold"] for record in manifest.read(path)}
    assert folds == {"sub-1": 0, "sub-2": 1, "sub-3": 1, "sub-4": 2}
    source = json.loads(path.read_text())["provenance"]["folds"]
    assert source == {"method": "published", "file": "lists.json", "sha256": sha256(lists)}


@pytest.mark.parametrize("split", ["train", "test"])
def test_refold_makes_folds_of_training_cases_only(simulated, tmp_path, split):
    path = tmp_path / "manifest.json"
    content = json.loads((simulated / "manifest.json").read_text())
    for record in content["records"]:
        del record["fold"]
        record["split"] = "train"
    content["records"][2]["split"] = split
    path.write_text(json.dumps(content))
    if split == "train":
        assert manifest.refold(path, path, folds=2) == [2, 2]
        assert all("split" not in record for record in manifest.read(path))
    else:
        with pytest.raises(UsageError, match="would train on its test split"):
            manifest.refold(path, path, folds=2)
    content["records"][2] |= {"split": "train", "pseudo_fold": 0}
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="would hold pseudo labels out"):
        manifest.refold(path, path, folds=2)


def test_X5_a_manifest_that_is_nested_without_end_is_one_line(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not JSON"):
        manifest.content(tmp_path / "manifest.json")
