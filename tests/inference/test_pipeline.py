"""The whole of ``predict`` on thinned simulated scans, which lie in MNI space."""

import json
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import staged
from stroke_nets.inference import outputs, pipeline
from stroke_nets.inference.inputs import ScanFile
from stroke_nets.inference.method import Found, spread
from stroke_nets.inference.outputs import Names, is_sidecar, rounded
from stroke_nets.registration import register, register_to_template
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.quality import Quality

NAMES = ("mask.json", "mask.nii.gz", "probseg.nii.gz", "lesions.csv")


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def done(runs, simulated, tmp_path_factory):
    """Three simulated scans and a broken one, with flips; the error that this raises."""
    root = tmp_path_factory.mktemp("predict")
    scans = root / "in"
    scans.mkdir()
    for number in (1, 2):
        image = nib.load(next(simulated.glob(f"sub-{number}/**/*_T1w.nii.gz")))
        image.set_sform(image.affine, 2)
        image.set_qform(image.affine, 0)
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, scans / f"patient {number}.nii.gz")
    (scans / "broken.nii.gz").write_bytes(b"\x1f\x8b no scan")
    options = {"checkpoint": runs["agmr_net"], "method": "agmr_net", "skip_registration": True}
    with pytest.raises(DataError) as error:
        stroke_nets.predict(scans, root / "out", tta=True, **options)
    return scans, root / "out", options, error.value


def test_one_bad_scan_does_not_stop_the_others(done):
    _, out, _, error = done
    assert error.exit_code == 3
    first, second = str(error).splitlines()
    assert first == f"1 of 3 scans failed; what could be done is in {out}"
    assert second.startswith("broken.nii.gz: damaged")
    summary = json.loads((out / "summary.json").read_text())
    assert [case["subject"] for case in summary["cases"]] == ["sub-patient1", "sub-patient2"]
    assert summary["failed"][0]["input"] == "broken.nii.gz"
    assert not (out / "sub-broken").exists()


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "{folder}/b.nii.gz"),
        OSError(5, "Input/output error", "{folder}/out/sub-b/x.nii.gz"),
        RuntimeError("cannot open '{folder}/b.nii.gz'"),
        DataError("{folder}/b.nii.gz: damaged"),
    ],
)
def test_R11_a_failed_scan_is_told_without_folders(error, tmp_path):
    if isinstance(error, OSError):
        error.filename = error.filename.format(folder=tmp_path)
    else:
        error.args = (error.args[0].format(folder=tmp_path),)
    said = pipeline.reason(error, tmp_path / "b.nii.gz", tmp_path / "out")
    assert str(tmp_path) not in said
    assert said


def test_other_programs_files_are_passed_over(tmp_path):
    anat = tmp_path / "sub-01[2]" / "anat"
    (anat / ".partial_x").mkdir(parents=True)
    for name in ("sub-01[2]_desc-brain_mask.json", ".partial_x/sub-01[2]_desc-y_mask.json"):
        (anat / name).write_text("{}")
    assert outputs.write_summary(tmp_path, [])["cases"] == []
    (anat / "sub-01[2]_desc-z_mask.json").write_text("{")  # damaged: it may be ours
    with pytest.raises(DataError, match="not a sidecar"):
        outputs.write_summary(tmp_path, [])
    scan = ScanFile(tmp_path / "x", "sub-01[2]/anat/x", "sub-01[2]")
    names = outputs.Names(tmp_path, scan, "z", mni=False)
    assert [path.name for path in names.present()] == ["sub-01[2]_desc-z_mask.json"]


def test_a_case_has_the_agreed_files_and_nothing_else(done):
    _, out, _, _ = done
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    ignored = (out / ".bidsignore").read_text().splitlines()
    in_bids = ("*.json", "*_mask.nii.gz", "*_probseg.nii.gz")  # the rest is no file of BIDS
    for path in (path for path in out.rglob("*") if path.is_file()):
        named = any(fnmatch(path.name, pattern.lstrip("/")) for pattern in ignored)
        assert named or any(fnmatch(path.name, pattern) for pattern in (".bidsignore", *in_bids))
    folder = out / "sub-patient1" / "anat"
    wanted = [f"sub-patient1_desc-agmrnet_{name}" for name in (*NAMES, "uncertainty.nii.gz")]
    kinds = ("report.html", "viewer.html", "thumbnail.jpg")
    pages = [f"sub-patient1_desc-agmrnet_{kind}" for kind in kinds]
    short = "sub-patient1_desc-agmrnet_probseg.json"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*wanted, *pages, short])
    assert pages[0] in (out / "index.html").read_text()
    sidecar = json.loads((folder / wanted[0]).read_text())
    assert sorted([*sidecar["Files"].values(), wanted[0]]) == sorted(wanted)
    assert sidecar["GeneratedBy"] == [{"Name": "stroke-nets", "Version": stroke_nets.__version__}]
    assert sidecar["Sources"] == ["patient 1.nii.gz"]
    assert len(sidecar["Weights"][0]["sha256"]) == 64
    assert str(out) not in json.dumps(sidecar)


def test_masks_are_their_scans_twins_and_follow_the_probabilities(done):
    scans, out, _, _ = done
    folder = out / "sub-patient1" / "anat"
    scan = nib.load(scans / "patient 1.nii.gz")
    for name in ("mask", "probseg", "uncertainty"):
        image = nib.load(folder / f"sub-patient1_desc-agmrnet_{name}.nii.gz")
        np.testing.assert_allclose(image.affine, scan.affine)
        assert image.shape == scan.shape
        for field in ("sform_code", "qform_code"):
            assert image.header[field] == scan.header[field]
        assert image.header.get_xyzt_units()[0] == "mm"
    mask = voxels(folder / "sub-patient1_desc-agmrnet_mask.nii.gz")
    chance = voxels(folder / "sub-patient1_desc-agmrnet_probseg.nii.gz")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, chance >= 0.5)
    assert 0 < mask.mean() < 1  # random weights: somewhere
    sidecar = json.loads((folder / "sub-patient1_desc-agmrnet_mask.json").read_text())
    table = pd.read_csv(folder / "sub-patient1_desc-agmrnet_lesions.csv")
    assert table["voxels"].sum() == mask.sum()
    assert sidecar["Lesions"]["count"] == len(table)
    # 4 x 4 x 16 mm; rows are rounded to 1e-4 ml
    assert sidecar["Lesions"]["total_ml"] == pytest.approx(
        mask.sum() * 0.256, abs=1e-4 * len(table)
    )


def test_what_is_there_is_kept_and_nothing_else_put_over_it(done, runs, capsys):
    scans, out, options, _ = done
    scan = scans / "patient 1.nii.gz"
    sidecar = out / "sub-patient1" / "anat" / "sub-patient1_desc-agmrnet_mask.json"
    before = sidecar.stat().st_mtime_ns
    stroke_nets.predict(scan, out, tta=True, **options)
    assert sidecar.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="is there already; give --overwrite or another OUT"):
        stroke_nets.predict(scan, out, **options)
    assert sidecar.stat().st_mtime_ns == before
    assert str(out) not in (out / "summary.json").read_text()  # it may be passed on
    stroke_nets.predict(scan, out, overwrite=True, quiet=False, **options)
    assert sidecar.stat().st_mtime_ns > before
    assert not list(sidecar.parent.glob("*_uncertainty.nii.gz"))  # of the one that was replaced
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("loading the weights of agmr_net")
    assert any("sub-patient1 (1 of 1): agmr_net: segmentation" in line for line in told)


def test_a_given_truth_is_shown_beside_the_mask(done, tmp_path):
    scans, out, options, _ = done
    scan = scans / "patient 2.nii.gz"
    viewer = out / "sub-patient2" / "anat" / "sub-patient2_desc-agmrnet_viewer.html"
    assert '"truth":' not in viewer.read_text()
    image = nib.load(scan)
    mask = np.zeros(image.shape, np.uint8)
    mask[20:30, 20:30, 20:30] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "truth.nii.gz")
    given = options | {"tta": True, "truth": tmp_path / "truth.nii.gz"}
    stroke_nets.predict(scan, out, **given)
    assert '"truth":' in viewer.read_text()
    nib.save(nib.Nifti1Image(mask[1:], image.affine), tmp_path / "truth.nii.gz")
    with pytest.raises(DataError, match=r"truth\.nii\.gz: its grid is not that of .* resample it"):
        stroke_nets.predict(scan, out, **given)
    with pytest.raises(UsageError, match="there are 3 scans; give one"):
        stroke_nets.predict(scans, out, **given)
    with pytest.raises(UsageError, match="leave --space mni out"):
        stroke_nets.predict(scan, out, space="mni", **given)


def test_threshold_and_smallest_lesion_are_options(done, tmp_path):
    scans, _, options, _ = done
    scan = scans / "patient 1.nii.gz"

    def total_ml(**given):
        stroke_nets.predict(scan, tmp_path, overwrite=True, **options, **given)
        sidecar = json.loads(next(tmp_path.glob("sub-*/anat/*_mask.json")).read_text())
        assert (sidecar["Threshold"], sidecar["MinimumSizeMl"]) == (
            given.get("threshold", 0.5),
            given.get("minimum_ml", 0),
        )
        return sidecar["Lesions"]["total_ml"]

    plain = total_ml()
    assert total_ml(threshold=0.01) >= plain >= total_ml(threshold=0.99)
    assert total_ml(threshold=0.01, minimum_ml=1e4) == 0
    for wrong in ({"threshold": 1.0}, {"threshold": -0.1}, {"minimum_ml": -1.0}):
        with pytest.raises(UsageError, match=r"--(threshold|minimum-ml) "):
            stroke_nets.predict(scan, tmp_path, **options, **wrong)


def test_the_volumes_interval_is_that_of_the_weights_and_of_the_volume_found():
    small, large = {"from_ml": 10, "ratio": [0, 1.2]}, {"from_ml": 30, "ratio": [0.5, 1.5]}
    weights = {"volume_ratio": [small, large]}
    found = outputs.volume_interval(20.0, [weights])
    assert found == {"interval_ml": [0.0, 24.0], "interval_level": 0.9}
    assert outputs.volume_interval(30.0, [weights])["interval_ml"] == [15.0, 45.0]
    assert outputs.volume_interval(9.9, [weights]) == {}  # measured from 10 ml on
    assert outputs.volume_interval(20.0, [weights, weights]) == {}
    assert outputs.volume_interval(20.0, [{}]) == {}


def test_W7_another_scan_of_the_same_name_is_not_overwritten_by_the_advice(done, tmp_path):
    scans, out, options, _ = done
    other = tmp_path / "patient 1.nii.gz"
    shutil.copy(scans / "patient 2.nii.gz", other)
    with pytest.raises(DataError, match="of another scan of this name; rename this one or give"):
        stroke_nets.predict(other, out, tta=True, **options)


def test_weights_in_another_configuration_are_another_prediction(done, tmp_path):
    scans, out, options, _ = done
    run = shutil.copytree(options["checkpoint"].parents[1], tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("size: 48", "size: 96"))
    other = options | {"checkpoint": run / "checkpoints" / "last.pt"}
    with pytest.raises(DataError, match="is there already; give --overwrite or another OUT"):
        stroke_nets.predict(scans / "patient 1.nii.gz", out, tta=True, **other)


def test_several_methods_are_averaged(runs, done, tmp_path):
    scan = done[0] / "patient 2.nii.gz"
    for name, file in runs.items():
        stroke_nets.predict(scan, tmp_path, method=name, checkpoint=file, skip_registration=True)
    both = list(runs)
    options = {"method": both, "checkpoint": list(runs.values()), "skip_registration": True}
    stroke_nets.predict(scan, tmp_path, **options)
    stem = str(tmp_path / "sub-patient2" / "anat" / "sub-patient2_desc-")
    one, two, mean, deviation = (
        voxels(f"{stem}{name}.nii.gz")
        for name in (
            "agmrnet_probseg",
            "mscsadefault_probseg",
            "ensemble_probseg",
            "ensemble_uncertainty",
        )
    )
    # Each file is rounded to 0.001.
    np.testing.assert_allclose(mean, (one + two) / 2, atol=0.0011)
    np.testing.assert_allclose(deviation, abs(one - two) / 2, atol=0.0011)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A scan of 3 mm, as its own file; where it lies is `MATRIX`."""
    affine = np.diag([-3.0, 3, 3, 1])
    affine[:3, 3] = (60, -80, -60)
    path = tmp_path_factory.mktemp("head") / "sub-9_ses-2_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((50, 50, 45)), affine), path)
    return path


MATRIX = np.diag([0.9, 0.9, 0.9, 1])  # the scan lies 20 mm to the left, 10 % smaller
MATRIX[0, 3] = -20
CENTRE = np.array([30.0, -20, 10])  # of a ball of 12 mm, in MNI


def ball(scan, methods, steps, adc=None):
    """In place of a network and a registration."""
    points = np.moveaxis(np.indices(scan.grid.shape), 0, -1)
    there = OnTemplate(MATRIX, {"correlation": 0.9}, ["it is a ball"])
    places = nib.affines.apply_affine(scan.grid.affine, points).reshape(-1, 3)
    far = np.linalg.norm(there.to_template(places.T).T - CENTRE, axis=1).reshape(scan.grid.shape)
    # 1 at the centre, one half at 12 mm
    return Found(torch.from_numpy(np.clip(1 - far / 24, 0, 1).astype(np.float32)), None, there)


@pytest.mark.parametrize("where", ["native", "mni"])
def test_a_registered_scan_has_its_mask_in_both_spaces(where, runs, head, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "find", ball)
    options = {"checkpoint": runs["agmr_net"], "method": "agmr_net", "space": where}
    stroke_nets.predict(head, tmp_path, **options)
    stem = str(tmp_path / "sub-9" / "ses-2" / "anat" / "sub-9_ses-2_")
    mni = f"{stem}space-MNI152NLin2009aSym_desc-agmrnet_"
    image = nib.load(f"{mni}mask.nii.gz")
    found = nib.affines.apply_affine(image.affine, np.argwhere(voxels(f"{mni}mask.nii.gz")))
    np.testing.assert_allclose(found.mean(axis=0), CENTRE, atol=0.5)  # of voxels of 3 mm
    own = f"{stem}desc-agmrnet_" if where == "native" else mni
    (row,) = pd.read_csv(f"{own}lesions.csv").to_dict("records")
    # Voxels of 3 mm: the ball of 10.8 mm has its centre to a few tenths, its volume to a few %.
    np.testing.assert_allclose([row[f"{axis}_mm"] for axis in "xyz"], CENTRE, atol=0.5)
    assert row["volume_ml"] == pytest.approx(4 / 3 * np.pi * 1.08**3, rel=0.05)
    assert row["hemisphere"] == "right"
    sidecar = json.loads(Path(f"{own}mask.json").read_text())
    assert sidecar["Space"] == ("native" if where == "native" else "MNI152NLin2009aSym")
    assert sidecar["Registration"]["correlation"] == 0.9
    assert sidecar["Warnings"][0] == "it is a ball"
    folder = tmp_path / "sub-9" / "ses-2" / "anat"
    assert all((folder / name).is_file() for name in sidecar["Files"].values())
    if where == "native":
        mask, scan = nib.load(f"{own}mask.nii.gz"), nib.load(head)
        np.testing.assert_allclose(mask.affine, scan.affine)
        back = nib.affines.apply_affine(scan.affine, np.argwhere(voxels(f"{own}mask.nii.gz")))
        np.testing.assert_allclose(back.mean(axis=0), 0.9 * CENTRE + [-20, 0, 0], atol=0.5)


def resolved(uri, out):
    """The file that a BIDS URI names."""
    scheme, name, inside = uri.split(":")
    links = json.loads((out / "dataset_description.json").read_text()).get("DatasetLinks", {})
    assert scheme == "bids"
    return (out / unquote(links[name] if name else ".") / unquote(inside)).resolve()


def test_sources_and_references_are_bids_uris_of_files(runs, head, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "find", ball)
    raw = tmp_path / "raw data"
    scan = raw / "sub-1" / "anat" / "sub-1_res-2_desc-preproc_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    shutil.copy(head, scan)
    (raw / "dataset_description.json").write_text("{}")
    out = raw / "derivatives" / "ours"
    for given in (raw, scan):  # the second time all is kept
        stroke_nets.predict(given, out, checkpoint=runs["agmr_net"], method="agmr_net")
    anat = out / "sub-1" / "anat"
    mni = "sub-1_space-MNI152NLin2009aSym"
    references = {
        "sub-1_res-2_desc-agmrnet_mask": scan,
        "sub-1_res-2_desc-agmrnet_probseg": scan,
        f"{mni}_desc-agmrnet_mask": anat / f"{mni}_T1w.nii.gz",
    }
    for stem, reference in references.items():
        about = json.loads((anat / f"{stem}.json").read_text())
        assert resolved(about["SpatialReference"], out) == reference.resolve()
        assert (nib.load(anat / f"{stem}.nii.gz").affine == nib.load(reference).affine).all()
        assert [resolved(uri, out) for uri in about["Sources"]] == [scan.resolve()]
        assert ("res-" in stem) == (about.get("Resolution") == "3 x 3 x 3 mm, as the source")
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"input": "../.."}


def test_an_output_folder_links_to_each_data_set(tmp_path):
    scans = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset_description.json").write_text("{}")
        path = tmp_path / name / "sub-1_T1w.nii.gz"
        scans.append(ScanFile(path, path.name, "sub-1", tmp_path / name))
    out = tmp_path / "out"
    for chosen in (scans[:1], scans[1:], scans):
        linked = outputs.describe_folder(out, chosen)
    assert [resolved(one.uri, out) for one in linked] == [one.path.resolve() for one in scans]
    (plain,) = outputs.describe_folder(out, [ScanFile(tmp_path / "x.nii", "x.nii", "sub-x")])
    assert plain.uri is None


def test_a_scan_is_opened_once(runs, head, tmp_path, monkeypatch):
    """From command to mask, tables and report; the registration is not of interest here."""
    good = register.Registration(MATRIX, Quality(1.0, 0.9, 0.0, 0.0, 1.0, 1.0, 1.4))
    monkeypatch.setattr(register_to_template, "register", lambda scan, contrast: good)
    opened = []

    def hook(event, arguments):
        if event == "open" and str(arguments[0]) == str(head):
            opened.append(arguments)

    sys.addaudithook(hook)  # stays until the process ends, and sees every way to open a file
    stroke_nets.predict(head, tmp_path, checkpoint=runs["agmr_net"], method="agmr_net")
    assert len(opened) == 1
    assert list(tmp_path.rglob("*_report.html"))


def test_wrong_options_are_usage_errors(runs, done, tmp_path):
    scans, _, options, _ = done
    for wrong, message in {
        ("space", "moon"): "choose native or mni",
        ("device", "toaster"): "choose auto, cpu, cuda",
        ("device", "cuda:99"): "no such GPU here",
        ("fast", True): "exclude each other",
    }.items():
        with pytest.raises(UsageError, match=message):
            stroke_nets.predict(
                scans, tmp_path, **options | {wrong[0]: wrong[1], "tta": wrong[0] == "fast"}
            )
    with pytest.raises(UsageError, match="--fast: runs one method"):
        stroke_nets.predict(
            scans, tmp_path, method=list(runs), checkpoint=list(runs.values()), fast=True
        )
    (tmp_path / "dataset_description.json").write_text('{"Name": "raw data"}')
    with pytest.raises(UsageError, match="a raw BIDS data set; give a folder of its own"):
        stroke_nets.predict(scans, tmp_path, **options)


def fail_while_writing(folder):
    with staged(folder) as place:
        (place / "a.nii.gz").touch()
        raise RuntimeError


def test_files_appear_together_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError):
        fail_while_writing(tmp_path)
    assert not list(tmp_path.iterdir())
    with staged(tmp_path) as folder:
        (folder / "a.nii.gz").touch()
        (folder / "a.json").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.nii.gz"]


def write_a_sidecar_and_a_mask(folder):
    with staged(folder, order=is_sidecar) as place:
        (place / "a_mask.json").touch()
        (place / "b_mask.nii.gz").touch()


def test_the_sidecar_is_written_last(tmp_path):
    (tmp_path / "b_mask.nii.gz").mkdir()  # which no file can replace
    with pytest.raises(IsADirectoryError):
        write_a_sidecar_and_a_mask(tmp_path)
    assert not (tmp_path / "a_mask.json").exists()


def test_spread_is_numpys():
    samples = torch.rand(5, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    mean, deviation = spread(iter(samples))
    torch.testing.assert_close(mean, samples.mean(0))
    torch.testing.assert_close(deviation, samples.std(0, correction=0))
    assert spread(iter(samples[:1]))[1] is None


def test_saved_probabilities_reach_the_threshold_where_the_mask_is():
    near = np.float32([0.49999997, 0.5, 0.3499999, 0.35, 1.0, 0.0])
    saved = rounded(near)
    np.testing.assert_array_equal(saved >= 0.5, near >= 0.5)
    np.testing.assert_array_equal(saved >= np.float32(0.35), near >= np.float32(0.35))


def test_names_tell_one_method_from_another(tmp_path):
    scan = ScanFile(tmp_path / "sub-1_T1w.nii.gz", "", "sub-1")
    names = Names(tmp_path, scan, "agmrnet", mni=False)
    names.folder.mkdir(parents=True)
    (names.folder / "sub-1_desc-agmrnetnarrow_mask.nii.gz").touch()
    assert names.present() == []
    there = ScanFile(tmp_path / "x", "", "sub-1_space-MNI152NLin2009aSym")
    assert Names(tmp_path, there, "agmrnet", mni=True).stem == f"{there.stem}_desc-agmrnet"


def test_the_command_tells_each_step_from_the_start_where_stderr_is_a_file(tmp_path, processes):
    scan = tmp_path / "none.nii.gz"
    done = processes.run("-m", "stroke_nets", "predict", scan, tmp_path / "out")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("loading PyTorch and MONAI")
    assert "no such file" in last
