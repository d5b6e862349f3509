"""Kill at every write: the same command given again ends as if nothing had happened."""

import contextlib
import json
import types
from functools import partial
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
import torch

import stroke_nets
from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.datasets.prepare import prepare
from stroke_nets.errors import StrokeNetsError
from stroke_nets.evaluation.evaluate import evaluate_folder
from stroke_nets.inference import pipeline
from stroke_nets.inference.inputs import find_scans
from stroke_nets.inference.method import Found
from stroke_nets.packing.archive import unpack
from stroke_nets.packing.pack import pack
from stroke_nets.pages import prediction_report
from stroke_nets.registration import pipeline as normalization
from stroke_nets.registration.quality import Quality
from stroke_nets.registration.register import Registration
from stroke_nets.synthesis import Design, data_set

from ..datasets import twins
from .points import kill_points, tree

pytestmark = pytest.mark.kill
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
ONE_PIXEL = b"\x89PNG"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pages without pictures, and no registration: what is written where stays the same."""
    torch.set_num_threads(1)  # a forked process cannot use the threads of OpenMP
    monkeypatch.setattr(pipeline, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    pictures = {"planes_png": ONE_PIXEL, "thumbnail": ONE_PIXEL}
    pictures |= {"montage_png": (ONE_PIXEL, [1]), "maps_png": (ONE_PIXEL, 1)}
    for name, picture in pictures.items():
        draw = Mock(return_value=picture)
        monkeypatch.setattr(prediction_report, name, draw)


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


def resumed(work, folder):
    """The folder's files after the work, which may say that all of it was done."""
    with contextlib.suppress(StrokeNetsError):
        work()
    return {name: content for name, content in tree(folder).items() if ".partial" not in name}


def healed(work, out):
    """The number of points at which the work was killed; done again, it ended as undisturbed."""
    work()
    whole, points = tree(out), 0
    out.rename(out.with_name("whole"))
    for points in kill_points(work, out):
        work()
        assert tree(out) == whole, points
    return points


def ball(level):
    """In place of networks: a lesion that is larger for a lower level."""

    def find(scan, methods, steps, adc=None):
        points = np.indices(scan.grid.shape)
        far = np.linalg.norm(points - np.reshape([10, 12, 9], (3, 1, 1, 1)), axis=0)
        chance = torch.from_numpy(np.clip(level - far / 12, 0, 1).astype(np.float32))
        return Found(chance, chance / 10, None)

    return find


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "sub-1_T1w.nii.gz", np.random.default_rng(0).random((24, 28, 22)))


@pytest.fixture
def predicting(runs, scan, tmp_path, monkeypatch):
    """A function that predicts the scan into a folder, with a lesion of some level."""

    def predict(level, **options):
        monkeypatch.setattr(pipeline, "find", ball(level))
        return stroke_nets.predict(
            scan,
            tmp_path / "out",
            method="agmr_net",
            checkpoint=runs["agmr_net"],
            **options,
        )

    return predict


def test_I2_predict_killed_at_any_write_heals(predicting, tmp_path):
    predicting(1.0)
    whole = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "whole")
    points = 0
    for points in kill_points(lambda: predicting(1.0), tmp_path / "out"):
        assert find_scans(tmp_path, tmp_path / "whole")[-1].path.name == "sub-1_T1w.nii.gz"
        predicting(1.0)
        assert tree(tmp_path / "out") == whole, points
    assert points >= 30


def test_I2_overwrite_killed_at_any_write_is_never_a_mixture(predicting, tmp_path):
    predicting(1.0)
    old = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "old")
    predicting(1.5, tta=True)
    new = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "new")
    assert old != new
    outcomes = set()
    (tmp_path / "old").rename(tmp_path / "out")
    overwrite = partial(predicting, 1.5, tta=True, overwrite=True)
    for point in kill_points(overwrite, tmp_path / "out"):
        left = resumed(lambda: predicting(1.0), tmp_path / "out")  # the older command, again
        outcomes.add("old" if left == old else "new")
        case = {name: content for name, content in left.items() if "/anat/" in name}
        assert left == old or case.items() <= new.items(), point
        overwrite()
        assert tree(tmp_path / "out") == new, point
    assert outcomes == {"old", "new"}


def test_I2_evaluation_over_an_older_one_is_never_a_mixture(tmp_path):
    mask = np.zeros((8, 9, 7), np.uint8)
    mask[2:5, 3:6, 2:4] = 1
    truth, out = tmp_path / "truth", tmp_path / "out"
    save(truth / "a.nii.gz", mask)
    save(tmp_path / "good" / "a.nii.gz", mask)
    save(tmp_path / "bad" / "a.nii.gz", mask[::-1].copy())

    def evaluate(name):
        evaluate_folder(tmp_path / name, truth, out)
        return tree(out)

    new, old = evaluate("bad"), evaluate("good")
    points = 0
    for points in kill_points(lambda: evaluate("bad"), out):
        left = {name: content for name, content in tree(out).items() if name in new}
        assert left in (old, new) or "summary.json" not in left, points
        assert evaluate("bad") == new
    assert points >= 5


def test_I2_simulate_killed_at_any_write_heals(tmp_path, monkeypatch):
    voxels = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    patient = voxels, (voxels > 0.8).astype(np.uint8)
    monkeypatch.setattr(data_set, "simulate_patient", lambda *ignored: patient)
    design, out = Design(plain=True), tmp_path / "out"
    assert healed(partial(data_set.simulate, out, 2, 0, 1, 2, design), out) >= 20


@pytest.mark.parametrize("name", ["isles2015", "arc"])
def test_I2_prepare_killed_at_any_write_heals(name, tmp_path):
    twins.MAKE[name](tmp_path / "source")
    out = tmp_path / "out"
    assert healed(partial(prepare, name, tmp_path / "source", out, workers=1), out) >= 20


def test_I2_manifest_killed_at_any_write_heals(simulated, tmp_path):
    out = tmp_path / "out"
    options = {"image": "**/*_T1w.nii.gz", "label": "_mask.nii.gz", "folds": 2}
    write = partial(from_folder, simulated, out=out / "m.json", **options)
    write()
    whole, points = tree(out), 0
    for points in kill_points(write, out):
        assert json.loads((out / "m.json").read_text())["records"]
        write()
        assert tree(out) == whole, points
    assert points >= 3


def test_I2_pack_and_unpack_killed_at_any_write_heal(runs, tmp_path, monkeypatch):
    out, parts = tmp_path / "out", tmp_path / "parts"
    weights = tmp_path / "random.pt"
    network = {"network": torch.load(runs["agmr_net"], weights_only=True)["network"]}
    torch.save(network, weights)
    monkeypatch.setattr("stroke_nets.packing.pack._state", lambda *ignored: network["network"])
    write = partial(pack, "agmr_net", out, [weights])
    packed = write()
    whole, points = tree(out), 0
    archive = packed.archive.rename(tmp_path / packed.archive.name)
    out.rename(tmp_path / "whole")
    for points in kill_points(write, out):
        assert resumed(write, out) == whole, points
    assert points >= 15
    unpack(archive, parts)
    whole, points = tree(parts), 0
    parts.rename(tmp_path / "whole parts")
    for points in kill_points(lambda: unpack(archive, parts), parts):
        assert resumed(lambda: unpack(archive, parts), parts) == whole, points
    assert points >= 10


def test_I2_normalize_killed_at_any_write_heals(scan, tmp_path, monkeypatch):
    good = Registration(np.eye(4), Quality(1.0, 0.9, 0.0, 0.0, 1.0, 1.0, 1.4))
    monkeypatch.setattr(normalization, "register", lambda volume: good)
    small = normalization.Volume(np.ones((4, 5, 6), np.float32), AFFINE)
    monkeypatch.setattr(normalization, "brain", lambda: small)
    monkeypatch.setattr(normalization.OnTemplate, "place", lambda self, volume: small.voxels)
    monkeypatch.setattr(normalization, "draw", lambda path, *ignored: path.write_bytes(ONE_PIXEL))
    out = tmp_path / "out"
    normalization.normalize(scan, out)
    whole, points = tree(out), 0
    out.rename(tmp_path / "whole")
    for points in kill_points(lambda: normalization.normalize(scan, out), out):
        assert resumed(lambda: normalization.normalize(scan, out), out) == whole, points
    assert points >= 9
