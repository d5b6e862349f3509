"""The bundle as a user runs it: ``python -m monai.bundle run``, on tiny simulated patients."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.runs.bundle_run import bundle_command
from stroke_nets.scans.reader import sha256

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "agmr_net"
CONFIGS = BUNDLE / "configs"
ABLATIONS = sorted(path.stem for path in (CONFIGS / "ablations").glob("*.yaml"))
TINY = {  # size is divisible by 6 (CPA's grid) and 16 (four poolings)
    "widths": [4, 8, 8, 8, 16],
    "size": 48,
    "batch_size": 4,
    "max_epochs": 2,
    "val_interval": 1,
    "num_workers": 0,
}


@pytest.fixture(scope="session")
def run(processes):
    """A function: run a step of the bundle as its command does, in a process of its own."""

    def run(step, *overlays, **options):
        if step == "infer":
            options = {"register": False} | options  # thinned scans
        _, *arguments = bundle_command(BUNDLE, step, overlays, options)
        return processes.run(*arguments, MONAI_FAIL_ON_DUPLICATE_CONFIG="1")

    return run


@pytest.fixture(scope="module")
def trained(run, simulated, tmp_path_factory):
    """A run folder after training, inference and evaluation."""
    folder = tmp_path_factory.mktemp("run")
    where = {"dataset_dir": simulated, "output_dir": folder / "fold0"}
    cache = {"cache_dir": folder / "cache"}
    shape = {k: TINY[k] for k in ("widths", "size")}
    done = [
        run("train", **where, **cache, **TINY),
        run("infer", **where, **shape),
        run("evaluate", **where),
    ]
    for process in done:
        assert process.returncode == 0, process.stderr
    return folder / "fold0", done


def test_training_says_what_it_saved(trained):
    folder, (training, _, _) = trained
    assert "epoch 2/2  train_dice" in training.stdout
    assert training.stdout.strip().endswith(")")
    assert f"saved {folder}/checkpoints/last.pt (epoch 2)" in training.stdout
    for name in ("last.pt", "best.pt"):
        saved = torch.load(folder / "checkpoints" / name, weights_only=True)
        parts = {"network", "optimizer", "lr_scheduler", "trainer", "evaluator"}
        assert set(saved) == parts | {"random", "config_hash"}
    assert list((folder / "events").iterdir())


def test_run_folder_holds_the_configuration_as_run(trained, simulated):
    config = yaml.safe_load((trained[0] / "config.yaml").read_text())
    assert config["widths"] == TINY["widths"]
    assert config["dataset_dir"] == str(simulated)
    assert config["output_dir"] == str(trained[0])


def test_masks_lie_on_the_scans_own_grid(trained, simulated):
    masks = sorted(trained[0].glob("predictions/**/*.nii.gz"))
    assert len(masks) == 2
    for mask in masks:
        name = mask.relative_to(trained[0] / "predictions")
        scan = nib.load(simulated / str(name).replace("_pred", ""))
        found = nib.load(mask)
        assert found.shape == scan.shape
        np.testing.assert_allclose(found.affine, scan.affine, atol=1e-5)  # float32 header
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert found.header[field] == scan.header[field]
        assert set(np.unique(found.dataobj)) <= {0, 1}


def test_evaluation_writes_each_case_and_a_summary(trained, record_outcome):
    record_outcome("agmr_net", "run")
    cases = pd.read_csv(trained[0] / "cases.csv")
    summary = json.loads((trained[0] / "summary.json").read_text())
    assert len(cases) == summary["n_cases"] == 2
    assert summary["bundle"] == "agmr_net"
    assert summary["space"] == "native"
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(cases["dice"].mean())
    network = AGMRNet(widths=TINY["widths"])
    assert summary["parameters"] == sum(p.numel() for p in network.parameters())
    assert (summary["policy"], summary["connectivity"]) == ("paper", 6)


def test_stage_maps_of_the_trained_network(run, trained, simulated):
    options = {"dataset_dir": simulated, "output_dir": trained[0]}
    shape = {k: TINY[k] for k in ("widths", "size")}
    done = run("infer", "stage_maps", **options, **shape)
    assert done.returncode == 0, done.stderr
    with np.load(trained[0] / "stage_maps.npz") as maps:
        assert maps["label"].any()
        assert maps["attention5"].shape == (6, 6)


def test_a_prediction_that_is_missing_is_listed(run, trained, simulated, tmp_path):
    done = run("evaluate", dataset_dir=simulated, output_dir=tmp_path)
    assert_one_line(done, 3, "2 problems")
    assert done.stderr.count("no prediction; expected") == 2


def test_a_second_training_does_not_overwrite_the_first(run, trained, simulated):
    before = (trained[0] / "checkpoints" / "last.pt").stat().st_mtime_ns
    again = run("train", dataset_dir=simulated, output_dir=trained[0], **TINY)
    assert_one_line(again, 2, "--overwrite true")
    assert (trained[0] / "checkpoints" / "last.pt").stat().st_mtime_ns == before


def test_network_space_is_evaluated_on_the_networks_grid(run, trained, simulated, tmp_path):
    where = {"dataset_dir": simulated, "output_dir": tmp_path, "space": "network"}
    where["size"] = TINY["size"]
    checkpoint = trained[0] / "checkpoints" / "last.pt"
    done = run("infer", checkpoint=checkpoint, widths=TINY["widths"], **where)
    assert done.returncode == 0, done.stderr
    done = run("evaluate", **where)
    assert done.returncode == 0, done.stderr
    assert nib.load(next(tmp_path.glob("predictions/**/*.nii.gz"))).shape == (48, 48, 12)


def test_folder_without_manifest_is_predicted_whole(run, trained, simulated, tmp_path):
    scan = next(simulated.glob("**/*_T1w.nii.gz"))
    (tmp_path / "in").mkdir()
    shutil.copy(scan, tmp_path / "in" / "a scan.nii.gz")
    done = run(
        "infer",
        dataset_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        checkpoint=trained[0] / "checkpoints" / "best.pt",
        widths=TINY["widths"],
        size=TINY["size"],
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions" / "a scan_pred.nii.gz").is_file()


def assert_one_line(process, code, *words):
    """The error starts a line of its own (one line for each bad file), with no traceback."""
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr + process.stdout
    line = next(line for line in process.stderr.splitlines() if line.startswith("error: "))
    for word in words:
        assert word in line


def test_missing_data_folder_is_one_line(run, tmp_path):
    done = run("train", dataset_dir=tmp_path / "nowhere")
    assert_one_line(done, 2, "nowhere", "no such folder")


def test_empty_training_list_is_one_line(run, simulated, tmp_path):
    content = json.loads((simulated / "manifest.json").read_text()) | {"records": []}
    (tmp_path / "empty.json").write_text(json.dumps(content))
    options = {"dataset_dir": simulated, "manifest": tmp_path / "empty.json"}
    done = run("train", output_dir=tmp_path / "run", **options)
    assert_one_line(done, 2, "empty.json", "no case")


def test_bad_scan_is_one_line(run, simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    for scan in root.glob("**/*_T1w.nii.gz"):
        scan.write_text("<html>404</html>")
    options = {"output_dir": tmp_path / "run", "widths": TINY["widths"], "size": TINY["size"]}
    options["cache_dir"] = tmp_path / "cache"
    done = run("train", dataset_dir=root, **options)
    assert_one_line(done, 3, "_T1w.nii.gz", "NIfTI")


def test_I3_one_bad_scan_of_four_leaves_three_masks(run, trained, simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    scans = sorted(root.glob("**/*_T1w.nii.gz"))
    scans[1].write_text("<html>404</html>")
    options = {"dataset_dir": root, "part": "all", "output_dir": tmp_path / "run"}
    options |= {"checkpoint": trained[0] / "checkpoints" / "last.pt"}
    options |= {k: TINY[k] for k in ("widths", "size")}
    done = run("infer", **options)
    assert_one_line(done, 3, "1 of 4 scans failed, 3 masks were written")
    assert f"\n{scans[1]}: a web page, not a NIfTI scan" in done.stderr
    masks = {path: path.read_bytes() for path in tmp_path.glob("run/predictions/**/*.nii.gz")}
    assert len(masks) == 3
    again = run("infer", **options)
    assert_one_line(again, 2, "is there already (3 of 4 masks)", "--overwrite true")
    assert {path: path.read_bytes() for path in masks} == masks


def test_mask_on_another_grid_is_one_line(run, simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    mask = sorted(root.glob("**/*_mask.nii.gz"))[0]
    image = nib.load(mask)
    moved = image.affine.copy()
    moved[0, 3] += 40
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), mask)
    listed = json.loads((root / "manifest.json").read_text())
    for record in listed["records"]:  # new checksums: `manifest` would refuse the mask
        record["sha256"]["label"] = sha256(root / record["label"])
    (root / "manifest.json").write_text(json.dumps(listed))
    options = {"output_dir": tmp_path / "run", "cache_dir": tmp_path / "cache"}
    done = run("train", dataset_dir=root, **options, **TINY)
    assert_one_line(done, 3, mask.name, "resample")


@pytest.mark.parametrize("overlay", ABLATIONS)
@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
def test_every_ablation_trains_and_segments(
    overlay, workflow, simulated, volume_cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")
    where = {"dataset_dir": str(simulated), "output_dir": str(tmp_path)}
    options = where | TINY | {"cache_dir": str(volume_cache), "max_epochs": 1, "batch_size": 12}
    training = workflow("agmr_net", "train", f"ablations/{overlay}", kind="train", **options)
    assert training.check_properties() == []
    training.run()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["overlay"] == overlay
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["network"]
    shape = {k: TINY[k] for k in ("widths", "size")}
    files = ("inference", f"ablations/{overlay}")
    inference = workflow("agmr_net", *files, kind="infer", **where, **shape)
    assert inference.check_properties() == []
    assert set(inference.network_def.state_dict()) == set(saved)
