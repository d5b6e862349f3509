"""The wheel in an environment of its own (`make test-wheel`): it does what the clone does."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets import synthesis

pytestmark = pytest.mark.wheel
ROOT = Path(__file__).parents[2]
BIN = ROOT / ".wheel-venv" / "bin"
VALIDATOR = ROOT / ".build-venv" / "bin" / "bids-validator-deno"
SCAN = "sub-1_ses-1_T1w"
OPTIONS = ("--quiet", "--backend", "torch")  # the clone has OpenVINO as well
CLONE = {"PYTHONPATH": str(ROOT)}


def run(folder, *command, code=0, **environment):
    """What a command prints, in a folder outside of the clone; its errors if it shall fail."""
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = plain | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | environment
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A head at 2 mm, as scans of patients are: with its skull, and on a grid of its own."""
    folder = tmp_path_factory.mktemp("outside")
    voxels, mask = synthesis.simulate_patient(0, 1, synthesis.Design())
    affine = synthesis.template().affine @ np.diag([2, 2, 2, 1])
    for name, values in (("truth/sub-1_ses-1_label-lesion_mask", mask), (SCAN, voxels)):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(values[::2, ::2, ::2], affine), path)
    return folder


@pytest.fixture(scope="module")
def predicted(folder):
    """The output folder of the installed ``predict``."""
    run(folder, BIN / "stroke-nets", "predict", f"{SCAN}.nii.gz", "installed", *OPTIONS)
    return folder / "installed"


def test_the_package_is_the_wheels(folder):
    printed = run(folder, BIN / "python", "-c", "import stroke_nets; print(stroke_nets.__file__)")
    assert Path(printed).is_relative_to(BIN.parent)


def test_the_installed_command_segments_as_the_clone_does(folder, predicted):
    clone = (sys.executable, "-m", "stroke_nets", "predict")
    run(folder, *clone, f"{SCAN}.nii.gz", "cloned", *OPTIONS, **CLONE)
    masks = [path.relative_to(predicted) for path in predicted.rglob("*.nii.gz")]
    assert len(masks) == 4  # mask and probability, and mask and scan in MNI space
    for mask in masks:
        assert (predicted / mask).read_bytes() == (folder / "cloned" / mask).read_bytes(), mask
    assert (predicted / "index.html").is_file()


def test_the_output_is_a_valid_bids_derivative(folder, predicted):
    run(folder, VALIDATOR, predicted)  # its exit code says whether there is an error


def test_a_bids_app_call_makes_valid_derivatives_of_two_subjects_and_sessions(folder):
    raw, app = folder / "raw", (BIN / "stroke-nets", "bids", "raw", "derived")
    for subject, session in itertools.product((1, 2), (1, 2)):
        name = f"sub-{subject}_ses-{session}_T1w.nii.gz"
        path = raw / f"sub-{subject}" / f"ses-{session}" / "anat" / name
        path.parent.mkdir(parents=True)
        shutil.copy(folder / f"{SCAN}.nii.gz", path)
    about = {"Name": "Simulated", "BIDSVersion": "1.10.0"}
    (raw / "dataset_description.json").write_text(json.dumps(about))
    work = ("--work-dir", "work", "--nprocs", "1", "--quiet")
    run(folder, *app, "participant", "--participant-label", "2", *work)
    assert [path.name for path in (folder / "derived").glob("sub-*")] == ["sub-2"]
    run(folder, *app, "participant", *work)
    run(folder, *app, "group", "--quiet")
    rows = (folder / "derived" / "group_lesions.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in rows[1:]] == [
        [f"sub-{subject}", f"ses-{session}"] for subject in (1, 2) for session in (1, 2)
    ]
    run(folder, VALIDATOR, folder / "derived")


def test_the_output_is_evaluated(folder, predicted):
    run(folder, BIN / "stroke-nets", "evaluate", predicted, "truth", "evaluation")
    case = (folder / "evaluation" / "cases.csv").read_text().splitlines()[1]
    assert case.startswith("sub-1_ses-1_label-lesion_mask,")
    assert "installed/sub-1/ses-1/anat/sub-1_ses-1_desc-" in case


def test_every_method_and_recipe_is_in_the_wheel(folder):
    code = (
        "from stroke_nets import bundle_folders as b; from stroke_nets.datasets import prepare; "
        "import json; print(json.dumps([b.bundle_names(), b.with_weights()]))"
    )
    assert run(folder, BIN / "python", "-c", code) == run(
        folder, sys.executable, "-c", code, **CLONE
    )


def test_the_plan_of_a_table_takes_the_installed_methods(folder):
    plan = run(folder, BIN / "stroke-nets", "reproduce", "agmr_table06", "--dry-run")
    assert str(BIN.parent) in plan
    assert "/stroke_nets/bundles/agmr_net" in plan


def test_published_weights_are_packed_and_inspected(folder):
    printed = json.loads(run(folder, BIN / "stroke-nets", "pack", "agmr_net", "dist", "--json"))
    found = run(folder, BIN / "stroke-nets", "inspect", folder / printed["archive"], "--json")
    assert {one["verdict"] for one in json.loads(found)} == {"ok"}


def test_the_installation_is_sound(folder):
    findings = json.loads(run(folder, BIN / "stroke-nets", "doctor", "--json"))
    assert not [one for one in findings if one.get("problem")]


def test_a_training_says_which_extra_it_needs(folder, simulated):
    command = (BIN / "stroke-nets", "train", "unet", "--data", simulated)
    assert "needs tensorboard, of the extra [train]" in run(folder, *command, code=2)


@pytest.mark.parametrize(
    "command", ["bids", "doctor", "train", "check", "evaluate", "report", "label", "reproduce"]
)
def test_every_command_explains_itself(folder, command):
    assert "Example" in run(folder, BIN / "stroke-nets", command, "--help")
