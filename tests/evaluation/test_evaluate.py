import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation import evaluate as evaluation
from stroke_nets.evaluation.evaluate import evaluate, evaluate_folder

SHAPE = (8, 9, 7)
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def save(path, mask, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), path)


def lesion(start, stop):
    mask = np.zeros(SHAPE, bool)
    mask[start:stop, 2:5, 3] = True
    return mask


@pytest.fixture
def folders(tmp_path):
    """Three masks of two patients, and predictions under the names that are allowed."""
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    save(truth / "a" / "one.nii.gz", lesion(1, 5))
    save(truth / "a" / "two.nii.gz", lesion(1, 5))
    save(truth / "three.nii", lesion(0, 0))
    save(predictions / "a" / "one.nii.gz", lesion(1, 3))
    save(predictions / "a" / "two_pred.nii.gz", lesion(0, 0))
    save(predictions / "three.nii.gz", lesion(0, 0))
    return predictions, truth, tmp_path / "out"


def test_folder_of_masks(folders):
    evaluate_folder(*folders, connectivity=26)
    cases = pd.read_csv(folders[2] / "cases.csv", keep_default_na=False)
    assert list(cases["subject"]) == ["a/one", "a/two", "three"]
    np.testing.assert_allclose(cases["dice"], [2 / 3, 0, 1])
    assert list(cases["prediction"]) == [
        "../predictions/a/one.nii.gz",
        "../predictions/a/two_pred.nii.gz",
        "../predictions/three.nii.gz",
    ]
    assert list(cases["hd95"]) == ["4.0", "", ""]
    summary = json.loads((folders[2] / "summary.json").read_text())
    assert (summary["connectivity"], summary["policy"]) == (26, "paper")
    assert summary["policy_cases"] == {"empty_prediction": 1, "empty_truth": 0, "both_empty": 1}
    assert summary["metrics"]["hd95"]["excluded"] == {"empty_prediction": 1, "both_empty": 1}


def test_processes_give_the_same_files(folders, tmp_path, monkeypatch):
    evaluate_folder(*folders)
    monkeypatch.setattr(evaluation, "CASES_PER_WORKER", 1)
    evaluate_folder(*folders[:2], tmp_path / "two", workers=2)
    for name in ("cases.csv", "summary.json"):
        assert (tmp_path / "two" / name).read_text() == (folders[2] / name).read_text()


def test_another_orientation_of_the_same_grid_is_the_same_mask(folders):
    path = folders[0] / "a" / "one.nii.gz"
    flipped = nib.as_closest_canonical(nib.load(path)).as_reoriented([[1, -1], [0, 1], [2, 1]])
    nib.save(flipped, path)
    assert nib.load(path).shape != SHAPE
    evaluate_folder(*folders)
    assert pd.read_csv(folders[2] / "cases.csv")["dice"][0] == pytest.approx(2 / 3)


def test_every_problem_is_in_one_table_and_nothing_is_written(folders):
    predictions = folders[0]
    (predictions / "three.nii.gz").unlink()
    (predictions / "a" / "one.nii.gz").rename(predictions / "one.nii.gz")
    save(predictions / "a" / "two_pred.nii.gz", lesion(1, 5), AFFINE + 9 * np.eye(4, k=3))
    with pytest.raises(DataError) as error:
        evaluate_folder(*folders)
    head, _, *rows = str(error.value).splitlines()
    assert "4 problems" in head
    assert [row.split()[0] for row in rows] == ["a/one", "three", "-", "a/two"]
    assert "no prediction; expected" in rows[0]
    assert f"{predictions / 'one.nii.gz'} belongs to no case" in rows[2]
    assert "resample the mask" in rows[3]
    assert list(folders[2].iterdir()) == []


def test_damaged_prediction(folders):
    (folders[0] / "a" / "one.nii.gz").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"\na/one .*not a NIfTI scan"):
        evaluate_folder(*folders)


def test_probabilities_are_no_mask(folders):
    scan = nib.Nifti1Image(np.linspace(0, 1, 504, dtype=np.float32).reshape(SHAPE), AFFINE)
    nib.save(scan, folders[0] / "a" / "one.nii.gz")
    with pytest.raises(DataError, match=r"\na/one .*504 different values"):
        evaluate_folder(*folders)


def test_cases_without_truth(tmp_path):
    case = {"image": str(tmp_path / "a.nii"), "record": {"subject": "a", "image": "a.nii"}}
    with pytest.raises(DataError, match=r"a\.nii: no label is known"):
        evaluate([case], str(tmp_path), str(tmp_path), truth=dict, info={})


def test_manifest_and_its_folds(simulated, tmp_path):
    run = tmp_path / "run"
    records = json.loads((simulated / "manifest.json").read_text())["records"]
    for record in records:
        mask = run / "predictions" / record["image"].replace(".nii.gz", "_pred.nii.gz")
        mask.parent.mkdir(parents=True)
        shutil.copy(simulated / record["label"], mask)
    evaluate_folder(run, simulated / "manifest.json", run, part="heldout", fold=1)
    cases = pd.read_csv(run / "cases.csv")
    held_out = [record["subject"] for record in records if record["fold"] == 1]
    assert sorted(cases["subject"]) == sorted(held_out)
    assert (cases["dice"] == 1).all()
    assert cases["prediction"].str.startswith("predictions/").all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t, o: ((p / "no", t, o), {}), "give the folder of the predictions"),
        (lambda p, t, o: ((p, t / "no.json", o), {}), "no such manifest"),
        (lambda p, t, o: ((t, t, o), {}), "same folder"),
        (lambda p, t, o: ((p, o, o), {}), "no mask in it"),
        (lambda p, t, o: ((p, t, o), {"policy": "kind"}), "paper, penalty"),
        (lambda p, t, o: ((p, t, o), {"connectivity": 8}), "6, 18 or 26"),
        (lambda p, t, o: ((p, t, o), {"workers": 0}), "1 or more"),
    ],
)
def test_refuses(folders, change, message):
    folders[2].mkdir()
    arguments, options = change(*folders)
    with pytest.raises(UsageError, match=message):
        evaluate_folder(*arguments, **options)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@x"])
def test_R15_a_name_that_spreadsheets_would_run_is_refused(name, tmp_path):
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1:3] = 1
    for folder in ("truth", "masks"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / folder / f"{name}.nii.gz")
    with pytest.raises(DataError, match="take its name for a formula; rename it"):
        evaluate_folder(tmp_path / "masks", tmp_path / "truth", tmp_path / "out")
