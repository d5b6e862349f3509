"""Overlays of the whole brain: they train on patients made meanwhile, resume, and segment."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.synthesis.diffusion import Habit, make_patient
from stroke_nets.synthesis.t1w import read_sources
from stroke_nets.training import checkpoint_file
from stroke_nets.transforms.brain_box import AFFINE

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = {"widths": [4, 8, 8], "heads": 2, "patch_size": [16, 16, 16]}
TINY = SIZE | {
    "supervision": [2, 1],
    "batch_size": 1,
    "train_batches": 2,
    "val_batches": 1,
    "val_interval": 1,
    "max_epochs": 2,
    "num_workers": 0,
}

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


def run(file, out, overlay="whole_brain", bundle="mscsa_default", **options):
    """Run one of a bundle's files with an overlay."""
    names = [file] + ["whole_brain_train.yaml"] * (file == "train.yaml") + [f"{overlay}.yaml"]
    files = [str(BUNDLES / bundle / "configs" / name) for name in names]
    flow = ConfigWorkflow(files, logging_file=False, output_dir=str(out), **options)
    flow.initialize()
    flow.run()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    run("train.yaml", folder, **TINY)
    return folder


def saved(run_folder):
    return torch.load(run_folder / "checkpoints" / "last.pt", weights_only=True)


def test_an_epoch_that_is_done_again_is_the_same(trained):
    before = saved(trained)
    for file in ("last.pt", "epoch_00002.pt"):
        checkpoint_file.remove(trained / "checkpoints" / file)
    run("train.yaml", trained, resume=True, **TINY)
    after = saved(trained)
    for name in ("network", "trained"):
        for key, value in before[name].items():
            assert torch.equal(value, after[name][key]), key


def test_what_is_saved_to_predict_is_the_average(trained):
    state = saved(trained)
    name = "encoder.0.0.0.weight"
    assert state["network"][name].shape[1] == 2
    assert not torch.equal(state["network"][name], state["trained"][name])


def test_a_mask_lies_on_the_scans_own_grid(trained, simulated):
    out, options = trained, {"dataset_dir": str(simulated), "register": False}
    run("inference.yaml", out, **options, **SIZE)
    run("evaluate.yaml", out, **options)
    cases = pd.read_csv(out / "cases.csv")
    assert len(cases) == 2
    mask, scan = nib.load(out / cases["prediction"][0]), nib.load(simulated / cases["image"][0])
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)  # float32 header


def test_agmr_net_trains_on_slices_of_patients_and_segments(simulated, tmp_path):
    bundle = {"bundle": "agmr_net", "widths": [4, 8, 8, 8, 16]}
    few = {k: TINY[k] for k in ("train_batches", "val_batches", "val_interval", "num_workers")}
    run("train.yaml", tmp_path, **bundle, **few, stacks=4, max_epochs=1)
    state = saved(tmp_path)
    assert not torch.equal(*(state[k]["head.weight"] for k in ("network", "trained")))
    options = {"dataset_dir": str(simulated), "register": False}
    run("inference.yaml", tmp_path, **bundle, **options)
    masks = [nib.load(file) for file in tmp_path.glob("predictions/**/*.nii.gz")]
    assert [mask.shape for mask in masks] == [nib.load(next(simulated.glob("**/*T1w*"))).shape] * 2


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    """The checkpoint of an epoch on diffusion; a DWI and an ADC map in MNI space."""
    folder = tmp_path_factory.mktemp("diffusion")
    run("train.yaml", folder / "run", "diffusion", **TINY | {"max_epochs": 1})
    image, _ = make_patient(0, 0, read_sources(None), Habit(dwi_alone=0))
    for name, volume in zip(("dwi", "adc"), image.numpy(), strict=True):
        nib.save(nib.Nifti1Image(volume, AFFINE), folder / f"sub-1_{name}.nii.gz")
    return folder / "run" / "checkpoints" / "last.pt", folder


def test_diffusion_is_segmented_with_its_adc_or_alone(diffusion, tmp_path):
    checkpoint, folder = diffusion
    assert saved(checkpoint.parents[1])["network"]["encoder.0.0.0.weight"].shape[1] == 4
    how = {"method": "mscsa_default", "checkpoint": checkpoint, "skip_registration": True}
    scan = folder / "sub-1_dwi.nii.gz"
    alone = shutil.copy(scan, tmp_path / "sub-2_dwi.nii.gz")
    cases = stroke_nets.predict(scan, tmp_path / "out", **how)["cases"]
    cases = stroke_nets.predict(alone, tmp_path / "out", **how)["cases"]
    assert [any("no ADC map" in w for w in case["warnings"]) for case in cases] == [False, True]
    assert not any("contrast" in warning for case in cases for warning in case["warnings"])
    given = {"adc": folder / "sub-1_adc.nii.gz", "overwrite": True}
    stroke_nets.predict(alone, tmp_path / "out", **how, **given)
    both, same = (
        nib.load(next((tmp_path / "out" / f"sub-{n}" / "dwi").glob("*_probseg.nii.gz")))
        for n in (1, 2)
    )
    np.testing.assert_array_equal(both.dataobj, same.dataobj)


def test_an_adc_that_cannot_be_used_is_refused(diffusion, runs, tmp_path):
    checkpoint, folder = diffusion
    scan, adc = folder / "sub-1_dwi.nii.gz", folder / "sub-1_adc.nii.gz"
    how = {"method": "mscsa_default", "checkpoint": checkpoint, "skip_registration": True}
    with pytest.raises(UsageError, match="no such file"):
        stroke_nets.predict(scan, tmp_path / "out", adc=tmp_path / "no.nii.gz", **how)
    small = tmp_path / "small.nii.gz"
    noise = np.random.default_rng(0).random((20, 20, 20), np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), small)
    with pytest.raises(DataError, match=r"the image's shape .* resample the image onto the scan"):
        stroke_nets.predict(scan, tmp_path / "out", adc=small, **how)
    of_t1w = {"method": "agmr_net", "checkpoint": runs["agmr_net"]}
    with pytest.raises(UsageError, match="the method is of T1w scans"):
        stroke_nets.predict(scan, tmp_path / "out", adc=adc, **of_t1w)
