"""From each data set as downloaded to a manifest; one small twin of each."""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.datasets import manifest
from stroke_nets.datasets.convert import Case, bring_other
from stroke_nets.datasets.folds import grouped_split
from stroke_nets.datasets.prepare import DATASETS, prepare, read_recipe
from stroke_nets.errors import DataError, UsageError
from stroke_nets.scans.check import check
from stroke_nets.scans.reader import open_scan, sha256

from . import twins

MANIFESTS = Path(__file__).parents[2] / "data_manifests"


@pytest.fixture(scope="module", params=twins.MAKE)
def prepared(request, tmp_path_factory):
    """A data set's name, its twin, and the prepared folder."""
    root = tmp_path_factory.mktemp(request.param)
    twins.MAKE[request.param](root / "source")
    before = {p: sha256(p) for p in (root / "source").rglob("*") if p.is_file()}
    result = prepare(request.param, root / "source", root / "out")
    assert {p: sha256(p) for p in (root / "source").rglob("*") if p.is_file()} == before
    return request.param, root / "source", root / "out", result


@pytest.fixture
def atlas(tmp_path):
    twins.atlas_v20(tmp_path / "source")
    return tmp_path / "source"


def labels(out):
    records = [r for r in manifest.read(out / "manifest.json") if "label" in r]
    return {(r["subject"], r.get("session")): open_scan(out / r["label"]) for r in records}


def test_prepared_data_pass_the_check(prepared):
    name, _, out, _ = prepared
    assert check(out / "manifest.json") == []
    content = json.loads((out / "manifest.json").read_text())
    assert content["name"] == name
    assert content["licence"] == read_recipe(name)["licence"]
    assert "/tmp" not in json.dumps(content["provenance"]) + json.dumps(content["records"])


def test_every_scan_has_the_lesion_it_was_made_with(prepared):
    name, _, out, _ = prepared
    expected = {
        "atlas_r12": [0, 1, 2, 3, 4],
        "atlas_v20": range(5),
        "isles2015": range(1, 6),
        "isles2022": (1, 2, 4, 9, 15),
        "arc": range(1, 6),
    }[name]
    found = labels(out)
    assert len(found) == len(expected)
    for seed, key in zip(expected, sorted(found), strict=True):
        mask = nib.as_closest_canonical(found[key])
        lesion = twins.head(seed)[1]
        if name == "atlas_r12" and seed == 0:
            lesion = lesion | twins.head(99)[1]  # two masks, united
        if name == "arc":  # from the T2w's grid: the same place, not the same voxels
            overlap = 2 * (np.asarray(mask.dataobj) & lesion).sum()
            assert overlap / (mask.get_fdata().sum() + lesion.sum()) > 0.8
        else:
            np.testing.assert_array_equal(mask.dataobj, lesion)
        assert mask.get_data_dtype() == np.uint8


def test_scans_are_the_originals(prepared):
    name, source, out, _ = prepared
    for record in manifest.read(out / "manifest.json"):
        image = out / record["image"]
        if image.is_symlink():
            assert source.resolve() in image.resolve().parents
        else:
            assert name == "isles2015"  # converted from MetaImage
            canonical = nib.as_closest_canonical(nib.load(image))
            np.testing.assert_array_equal(
                canonical.dataobj, twins.head(int(record["subject"][-2:]))[0]
            )


def test_summary_compares_with_what_there_should_be(prepared):
    name, _, _, result = prepared
    lines = "\n".join(result.summary())
    scans = {"atlas_r12": "5 of 229", "atlas_v20": "5 of 655", "isles2015": "5 of 28"}
    scans |= {"isles2022": "5 of 250", "arc": "5 of 228"}
    assert f"scans: {scans[name]} expected" in lines
    left_out = {"isles2015": "SISS2015_Training/6: no mask", "arc": "no T1w in its session"}
    assert left_out.get(name, "") in lines
    if name == "atlas_v20":
        assert "unlabelled: 2 of 300" in lines
        small = sum(0 < r.get("lesion_voxels", 0) < 1000 for r in result.records)
        assert f"small_lesions (1 to 999 voxels in all): {small} of 138" in lines
        assert "small lesions, no part above 1000 voxels: " in lines


def test_companions_lie_on_the_scans_grid(prepared):
    name, _, out, _ = prepared
    expected = {"isles2022": {"adc", "flair"}, "arc": {"t2w"}}.get(name, set())
    for case in manifest.datalist(str(out)):
        assert set(case["record"].get("companions", {})) == expected
        for contrast in expected:
            scan, other = (nib.load(case[key]) for key in ("image", contrast))
            assert scan.shape == other.shape
            a, b = scan.get_fdata(), other.get_fdata()
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8  # the same head


@pytest.fixture
def session(tmp_path):
    """A scan in a prepared folder, and another contrast of noise half a voxel beside it."""
    rng = np.random.default_rng(0)
    grids = {"T1w": np.eye(4), "T2w": nib.affines.from_matvec(np.eye(3), (0.5, 0, 0))}
    for name, affine in grids.items():
        image = nib.Nifti1Image(rng.random((8, 8, 8), np.float32), affine)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    return Case("sub-1", tmp_path / "T1w.nii.gz", others={"t2w": tmp_path / "T2w.nii.gz"})


def test_a_companion_is_interpolated_linearly(session, tmp_path):
    name = bring_other(session, tmp_path, "T1w.nii.gz", "t2w", "T2w")
    voxels = nib.load(session.others["t2w"]).get_fdata()
    middles = (voxels[1:] + voxels[:-1]) / 2
    np.testing.assert_allclose(nib.load(tmp_path / name).get_fdata()[1:], middles, rtol=1e-6)


def test_a_full_disk_leaves_no_half_file(session, full_disk, tmp_path):
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        bring_other(session, tmp_path, "T1w.nii.gz", "t2w", "T2w")
    assert not any(path.is_file() for path in (tmp_path / "sub-1").rglob("*"))


def test_people_stay_together(prepared):
    _, _, out, _ = prepared
    records = manifest.read(out / "manifest.json")
    parts: dict[str, set] = {}
    for record in records:
        parts.setdefault(record["subject"], set()).add(record.get("fold", record.get("split")))
    assert all(len(found) == 1 for found in parts.values())


def test_a_second_run_keeps_the_files_and_writes_the_same_manifest(prepared):
    name, source, out, _ = prepared
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii*")}
    text = (out / "manifest.json").read_text()
    some = next(p for p in before if p.name.endswith("_mask.nii.gz"))
    some.unlink()  # as if the first run had been stopped
    prepare(name, source, out, workers=1)
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii*")}
    assert {p for p in before if before[p] != after[p]} == {some}
    assert (out / "manifest.json").read_text() == text


def test_recipes_say_the_same_for_everyone():
    for name in DATASETS:
        recipe = json.loads((MANIFESTS / f"{name}.json").read_text())
        assert recipe == read_recipe(name)
        assert set(recipe) == {
            "name", "title", "licence", "source", "citation", "layout", "expected", "split"
        }  # fmt: skip
        assert recipe["name"] == name
        assert {"method", "seed", "group"} <= set(recipe["split"])


def test_r12_split_is_183_and_46_scans_by_person():
    people = [f"s{i}" for i in range(220)] + [f"s{i}" for i in range(9)]  # nine scanned twice
    parts = grouped_split(people, 46, seed=0)
    assert Counter(parts) == {"train": 183, "test": 46}
    assert all(len({p for q, p in zip(people, parts, strict=True) if q == s}) == 1 for s in people)
    assert parts == grouped_split(people, 46, seed=0) != grouped_split(people, 46, seed=1)


def test_all_bad_files_are_named_and_no_manifest_is_written(atlas, tmp_path):
    masks = sorted(atlas.rglob("*_mask.nii.gz"))
    masks[0].write_bytes(b"<html>")
    masks[1].unlink()
    scan = sorted(atlas.rglob("*_T1w.nii.gz"))[4]
    scan.write_bytes(scan.read_bytes()[:5000])
    with pytest.raises(DataError) as caught:
        prepare("atlas_v20", atlas, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert sum("web page" in line for line in lines) == 1
    assert sum("no such file" in line for line in lines) == 1
    assert sum("cut short" in line for line in lines) == 1
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_other_folders_are_refused(atlas, tmp_path):
    with pytest.raises(UsageError, match="choose one of atlas_r12"):
        prepare("atlas", atlas, tmp_path / "out")
    with pytest.raises(UsageError, match="no such folder"):
        prepare("atlas_v20", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="inside the data set's own folder"):
        prepare("atlas_v20", atlas, atlas / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="holds something other"):
        prepare("atlas_v20", atlas, tmp_path / "full")
    for name in DATASETS:
        with pytest.raises(DataError, match="not the data set's folder"):
            prepare(name, tmp_path / "full", tmp_path / "out")


def test_one_folder_holds_one_data_set(atlas, tmp_path):
    prepare("atlas_v20", atlas, tmp_path / "out")
    twins.arc(tmp_path / "arc")
    with pytest.raises(UsageError, match="another data set"):
        prepare("arc", tmp_path / "arc", tmp_path / "out")


@pytest.mark.parametrize("kind", ["mha", "mhd"])
def test_metaimage_without_its_voxels_is_refused(tmp_path, kind):
    twins.isles2015(tmp_path / "source")
    data = next((tmp_path / "source").rglob(f"*T1*.{kind.replace('mhd', 'raw')}"))
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"MR_T1.*\.{kind}: (cut short|damaged)"):
        prepare("isles2015", tmp_path / "source", tmp_path / "out")
    if kind == "mhd":
        data.unlink()
        with pytest.raises(DataError, match="are missing"):
            prepare("isles2015", tmp_path / "source", tmp_path / "out")


def test_unfetched_annex_files_say_how_to_get_them(tmp_path):
    twins.arc(tmp_path / "source")
    t1w = next((tmp_path / "source").rglob("*_T1w.nii.gz"))
    t1w.unlink()
    t1w.symlink_to("../../../.git/annex/objects/0/1/MD5E-s4.nii.gz")
    with pytest.raises(DataError, match="datalad get"):
        prepare("arc", tmp_path / "source", tmp_path / "out")


def test_published_folds_are_taken_over(atlas, tmp_path):
    found = prepare("atlas_v20", atlas, tmp_path / "first").records
    subjects = sorted({r["subject"] for r in found if "label" in r})
    rows = [f"{subject},{i % 5}" for i, subject in enumerate(subjects)]
    (tmp_path / "folds.csv").write_text("\n".join(["subject,fold", *rows]) + "\n")
    prepare("atlas_v20", atlas, tmp_path / "out", published=tmp_path / "folds.csv")
    records = manifest.read(tmp_path / "out" / "manifest.json")
    assert {r["subject"]: r["fold"] for r in records if "label" in r} == {
        subject: i % 5 for i, subject in enumerate(subjects)
    }
    unlabelled = [r for r in records if "label" not in r]
    assert unlabelled
    assert all(r["split"] == "unlabelled" for r in unlabelled)
