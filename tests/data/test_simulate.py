import json
import math

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.data import manifest, simulate
from stroke_nets.errors import UsageError

SEED = 2  # its first two patients have lesions


@pytest.fixture(scope="module")
def patients():
    """Patients 1 and 2, made in this process."""
    return {index: simulate.simulate_patient(SEED, index) for index in (1, 2)}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """One patient made in this process, then extended to two patients by two others."""
    out = tmp_path_factory.mktemp("simulated") / "two"
    simulate.simulate(out, subjects=1, seed=SEED, workers=1)
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    simulate.simulate(out, subjects=2, seed=SEED, workers=2)
    return out, first


def test_drawn_design():
    rng = np.random.default_rng(0)
    drawn = [simulate.draw_volumes(rng) for _ in range(2000)]
    counts = np.bincount([len(volumes) for volumes in drawn]) / len(drawn)
    totals = [sum(volumes) for volumes in drawn if volumes]
    assert counts[0] == pytest.approx(0.15, abs=0.03)
    assert counts[2:].sum() == pytest.approx(0.25, abs=0.03)
    assert len(counts) == 5
    assert np.median(totals) == pytest.approx(10_000, rel=0.15)
    assert min(min(volumes) for volumes in drawn if volumes) >= 13
    assert max(totals) <= 200_000


def test_smooth_field_is_smooth_and_of_unit_size():
    field = simulate.smooth_field(np.random.default_rng(0), (60, 70, 80), spacing=10)
    assert field.shape == (60, 70, 80)
    assert 0.5 < field.std() < 1.1
    assert max(np.diff(field, axis=axis).std() for axis in range(3)) < 0.2


def test_deformation_does_not_fold():
    source = simulate.deformation(np.random.default_rng(0), (120, 130, 110))[:, ::2, ::2, ::2]
    jacobian = np.stack([np.stack(np.gradient(part, 2.0)) for part in source])
    volume_change = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    assert volume_change.min() > 0.1


@pytest.mark.parametrize("voxels", [13, 4000, 60_000])
def test_lesion_reaches_its_volume_in_the_allowed_region(voxels):
    allowed = np.zeros((80, 80, 80), bool)
    allowed[4:76, 4:76, 4:60] = True
    box, weight = simulate.lesion_weight(np.random.default_rng(1), voxels, allowed)
    assert (weight > 0.5).sum() == voxels
    assert not weight[~allowed[box]].any()
    assert weight.max() <= 1


@pytest.mark.parametrize("index", [1, 2])
def test_patient(patients, index):
    image, mask = patients[index]
    drawn = simulate.draw_volumes(np.random.default_rng([SEED, index]))
    assert (image.shape, image.dtype) == ((197, 233, 189), np.int16)
    assert (mask.shape, mask.dtype) == (image.shape, np.uint8)
    assert image.min() == 0
    assert 1_500_000 < (image > 0).sum() < 2_500_000
    assert (image[mask > 0] > 0).all()
    assert mask.sum() == sum(drawn)
    assert np.median(image[mask > 0]) < 0.7 * np.median(image[(image > 0) & (mask == 0)])


def test_patients_differ(patients):
    assert (patients[1][0] != patients[2][0]).any()


def test_any_number_of_workers_makes_the_same_patient(patients, data_set):
    out, _ = data_set
    for index, record in enumerate(manifest.read(out / "manifest.json"), start=1):
        image, mask = nib.load(out / record["image"]), nib.load(out / record["label"])
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), patients[index][0])
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), patients[index][1])


def test_layout(data_set):
    out, _ = data_set
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


def test_header(data_set):
    out, _ = data_set
    for path in out.rglob("*.nii.gz"):
        header = nib.load(path).header
        np.testing.assert_array_equal(header.get_sform(), simulate.template().affine)
        np.testing.assert_array_equal(header.get_qform(), simulate.template().affine)
        assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
        assert header.get_xyzt_units()[0] == "mm"


def test_gzip_header_holds_no_name_and_no_time(data_set):
    out, _ = data_set
    for path in out.rglob("*.nii.gz"):
        flags_and_time = path.read_bytes()[3:8]
        assert flags_and_time == bytes(5)


def test_extending_keeps_the_patients_there(data_set):
    _, first = data_set
    assert len(first) == 2
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())


def test_manifest_counts_lesions_and_deals_folds(data_set):
    out, _ = data_set
    records = manifest.read(out / "manifest.json")
    for index, record in enumerate(records, start=1):
        drawn = simulate.draw_volumes(np.random.default_rng([SEED, index]))
        assert record["lesion_voxels"] == sum(drawn)
        assert math.isclose(record["lesion_ml"], sum(drawn) / 1000, abs_tol=1e-3)
        assert 0 <= record["fold"] < 5


@pytest.mark.parametrize(
    ("subjects", "seed", "says"),
    [(2, SEED + 1, "another data set"), (1, SEED, "holds 2 patients, not 1")],
)
def test_refuses_another_simulated_data_set(data_set, subjects, seed, says):
    out, _ = data_set
    with pytest.raises(UsageError, match=f"{out.name} .*{says}.*: choose another folder"):
        simulate.simulate(out, subjects=subjects, seed=seed)


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
