import json
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from stroke_nets.data import manifest
from stroke_nets.errors import DataError, UsageError

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
            for name in ("a_T1w", "a_mask"):
                voxels = np.full((2, 2, 2), subject, np.uint8)
                nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{name}.nii.gz")
    out = tmp_path / "m.json"
    glob = {"image": "**/*_T1w.nii.gz", "label": "_mask.nii.gz"}
    assert manifest.from_folder(tmp_path, **glob, out=out, folds=2) == 8
    folds: dict[str, set[int]] = {}
    for record in manifest.read(out):
        folds.setdefault(record["subject"], set()).add(record["fold"])
    assert [len(found) for found in folds.values()] == [1] * 4
    with pytest.raises(UsageError, match="there are 4 subjects"):
        manifest.from_folder(tmp_path, **glob, out=out, folds=5)


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
