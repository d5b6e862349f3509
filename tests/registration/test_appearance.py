"""Row L11: another contrast and a missing skull are seen by every tool that takes scans."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.datasets import manifest
from stroke_nets.inference.doubts import doubts
from stroke_nets.registration.appearance import appearance
from stroke_nets.registration.volume import brain, dilated
from stroke_nets.scans.reader import Scan

SAID = {"T1w": None, "inverted": "its contrast is not T1w", "stripped": "it is skull-stripped"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three heads on the template's grid, where nothing is registered, and their masks."""
    root, template = tmp_path_factory.mktemp("data"), brain()
    values, inside = template.voxels, dilated(template, 0.0)
    scalp = np.where(dilated(template, 16.0) & ~dilated(template, 6.0), 0.7, 0.0)
    images = {
        "T1w": np.where(inside, values, scalp),
        "inverted": np.where(inside, 1.2 - values, scalp),
        "stripped": np.where(inside, values, 0),
    }
    mask = np.zeros(values.shape, np.uint8)
    mask[60:70, 100:110, 90:100] = 1
    for name, image in images.items():
        for end, voxels in (("T1w", image.astype(np.float32)), ("mask", mask)):
            path = root / name / f"{name}_{end}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, template.affine), path)
    return root


def run(*arguments):
    """The command, in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def test_L11_W2_check_manifest_training_and_predict_say_the_same(folder, caplog):
    done = run("check", folder, "--json")
    assert done.exit_code == 0
    found = {one["file"].split("/")[-2]: one["what"] for one in json.loads(done.stdout)}
    assert found.keys() == {"inverted", "stripped"}
    assert all(SAID[name] in what for name, what in found.items())
    out = folder / "manifest.json"
    ends = ("--image", "**/*_T1w.nii.gz", "--label", "_mask.nii.gz", "--folds", "0")
    assert run("manifest", folder, out, *ends).exit_code == 0
    assert all(what in caplog.text for what in found.values())
    kept = {r["subject"]: r["warnings"] for r in manifest.read(out) if "warnings" in r}
    assert kept.keys() == found.keys()
    assert all(found[name] in line for name, (line,) in kept.items())
    manifest.datalist(str(folder), "train")
    assert "2 of 3 cases have warnings, such as inverted/" in caplog.text
    for name in SAID:
        said = " ".join(doubts(Scan(folder / name / f"{name}_T1w.nii.gz"), None))
        assert found.get(name, "") in said
        assert bool(said) == (name in found)
    out.unlink()


def test_L11_a_scan_of_a_few_slices_is_no_head(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 5), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert appearance(Scan(tmp_path / "a.nii")) == []
