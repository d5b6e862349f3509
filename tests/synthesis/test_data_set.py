import json
import math

import nibabel as nib
import numpy as np
import pytest

from stroke_nets import synthesis as simulate
from stroke_nets.datasets import manifest
from stroke_nets.errors import UsageError
from stroke_nets.synthesis import data_set
from stroke_nets.synthesis.patient import draw_stroke

SEED = 3  # its first two patients have lesions


@pytest.fixture(scope="module")
def patients():
    """Patients 1 and 2, made in this process."""
    return {index: simulate.simulate_patient(SEED, index) for index in (1, 2)}


@pytest.fixture(scope="module")
def two_patients(tmp_path_factory):
    """One patient made in this process, then extended to two patients by two others."""
    out = tmp_path_factory.mktemp("simulated") / "two"
    simulate.simulate(out, subjects=1, seed=SEED, workers=1)
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    simulate.simulate(out, subjects=2, seed=SEED, workers=2)
    return out, first


def test_any_number_of_workers_makes_the_same_patient(patients, two_patients):
    out, _ = two_patients
    for index, record in enumerate(manifest.read(out / "manifest.json"), start=1):
        image, mask = nib.load(out / record["image"]), nib.load(out / record["label"])
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), patients[index][0])
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), patients[index][1])


def test_layout(two_patients):
    out, _ = two_patients
    anat = "sub-sim0002/ses-1/anat"
    stem = f"{anat}/sub-sim0002_ses-1_space-MNI152NLin2009aSym"
    assert {str(path.relative_to(out)) for path in (out / anat).iterdir()} == {
        f"{stem}_T1w.nii.gz",
        f"{stem}_label-L_desc-T1lesion_mask.nii.gz",
    }
    assert {path.name for path in out.iterdir()} == {
        "dataset_description.json",
        "manifest.json",
        "participants.tsv",
        "sub-sim0001",
        "sub-sim0002",
    }
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Subjects"] == 2
    rows = (out / "participants.tsv").read_text().splitlines()
    assert rows[0] == "participant_id\tlesion_voxels"
    assert [row.split("\t")[0] for row in rows[1:]] == ["sub-sim0001", "sub-sim0002"]


def test_header(two_patients):
    out, _ = two_patients
    for path in out.rglob("*.nii.gz"):
        header = nib.load(path).header
        np.testing.assert_array_equal(header.get_sform(), simulate.template().affine)
        np.testing.assert_array_equal(header.get_qform(), simulate.template().affine)
        assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
        assert header.get_xyzt_units()[0] == "mm"


def test_gzip_header_holds_no_name_and_no_time(two_patients):
    out, _ = two_patients
    for path in out.rglob("*.nii.gz"):
        flags_and_time = path.read_bytes()[3:8]
        assert flags_and_time == bytes(5)


def test_extending_keeps_the_patients_there(two_patients):
    _, first = two_patients
    assert len(first) == 2
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())


def test_manifest_counts_lesions_and_deals_folds(two_patients):
    out, _ = two_patients
    records = manifest.read(out / "manifest.json")
    for index, record in enumerate(records, start=1):
        drawn = draw_stroke(np.random.default_rng([SEED, index, 1])).volumes
        assert record["lesion_voxels"] == sum(drawn)
        assert math.isclose(record["lesion_ml"], sum(drawn) / 1000, abs_tol=1e-3)
        assert 0 <= record["fold"] < 5


def test_patients_with_one_lesion_source_share_a_fold():
    sources = ["a", "b", None, "a", "c", "b", None, "a"]
    records = [{"subject": f"sub-{i}", "lesion_voxels": i * i} for i in range(8)]
    for record, source in zip(records, sources, strict=True):
        record |= {} if source is None else {"lesion_source": source}
    data_set.deal_by_source(records, folds=2, seed=0)
    found = [record["fold"] for record in records]
    assert found[0] == found[3] == found[7]
    assert found[1] == found[5]
    assert set(found) == {0, 1}


@pytest.mark.parametrize(
    ("subjects", "seed", "says"),
    [(2, SEED + 1, "another data set"), (1, SEED, "holds 2 patients, not 1")],
)
def test_refuses_another_simulated_data_set(two_patients, subjects, seed, says):
    out, _ = two_patients
    with pytest.raises(UsageError, match=f"{out.name} .*{says}.*: choose another folder"):
        simulate.simulate(out, subjects=subjects, seed=seed)


def test_refuses_another_design(two_patients):
    out, _ = two_patients
    design = simulate.Design(skull=False)
    with pytest.raises(UsageError, match=r"than seed .*, --no-skull design: choose another folder"):
        simulate.simulate(out, subjects=2, seed=SEED, design=design)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "mine"),
        ("dataset_description.json", '{"Name": "ATLAS", "GeneratedBy": [{"Name": "x"}]}'),
        ("dataset_description.json", "[]"),
        ("dataset_description.json", "not JSON"),
    ],
)
def test_refuses_a_foreign_folder(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="choose another folder or delete it"):
        simulate.simulate(tmp_path, subjects=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(
    "wrong", [{"subjects": 0}, {"seed": -1}, {"workers": 0}, {"folds": 1}], ids=str
)
def test_refuses_impossible_numbers(tmp_path, wrong):
    out = tmp_path / "new"
    with pytest.raises(UsageError, match=next(iter(wrong))):
        simulate.simulate(out, **{"subjects": 1, "seed": 0} | wrong)
    assert not out.exists()


def test_a_full_disk_leaves_no_half_patient(full_disk, monkeypatch, tmp_path):
    noise = np.random.default_rng(0).random((20, 20, 20), np.float32)
    monkeypatch.setattr(data_set, "simulate_patient", lambda *_: (noise, noise))
    with full_disk(5000), pytest.raises(OSError, match="File too large"):
        data_set.simulate(tmp_path / "out", subjects=1, seed=SEED, workers=1)
    assert not list((tmp_path / "out").rglob("*.nii.gz"))
    assert not (tmp_path / "out" / "manifest.json").exists()
