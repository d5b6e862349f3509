"""The overlay ``whole_brain``: it trains on patients made meanwhile, resumes, and segments."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow

from stroke_nets.training import checkpoint_file

CONFIGS = Path(__file__).parents[2] / "bundles" / "mscsa_default" / "configs"
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


def run(file, out, **options):
    """Run one of the bundle's files with the overlay."""
    names = [file] + ["whole_brain_train.yaml"] * (file == "train.yaml") + ["whole_brain.yaml"]
    files = [str(CONFIGS / name) for name in names]
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
