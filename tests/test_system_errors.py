"""Row S1: what cannot be written is one line that names it, in every command."""

import json
import threading

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage
from safetensors import SafetensorError
from safetensors.torch import save_file
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.scans.writer import HeaderWriter
from stroke_nets.training.run_handlers import Curves

from .datasets import twins

COMMANDS = {
    "predict": "predict SCAN OUT --skip-registration --method agmr_net --checkpoint WEIGHTS",
    "bids": "bids BIDS OUT participant --method agmr_net",
    "simulate": "simulate OUT --subjects 1 --plain --workers 1",
    "prepare": "prepare isles2015 SOURCE OUT --workers 1",
    "manifest": "manifest DATA OUT/m.json --image **/*_T1w.nii.gz --label _mask.nii.gz --folds 2",
    "evaluate": "evaluate MASKS TRUTH OUT --workers 1",
    "tables": "tables agmr_table03 --runs DATA --out OUT",
    "pack": "pack agmr_net OUT",
    "unpack": "unpack ZIP OUT",
    "train": "train agmr_net --data DATA --set output_dir=OUT --set cache_dir=CACHE",
    "infer": "infer agmr_net --data DATA --checkpoint WEIGHTS --set output_dir=OUT --set size=48 "
    "--set widths=[4,8,8,8,16]",
}


@pytest.fixture(autouse=True)
def logging_as_it_is(monkeypatch):
    """MONAI's configuration of logging makes absl's handler, if imported, close pytest's stderr."""
    monkeypatch.setattr("monai.bundle.workflows.fileConfig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def inputs(simulated, runs, tmp_path_factory):
    """What the commands read, by the words that stand for it."""
    root = tmp_path_factory.mktemp("inputs")
    twins.MAKE["isles2015"](root / "source")
    bids = root / "bids"
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (bids / "sub-1").symlink_to(simulated / "sub-1")
    for folder in ("masks", "truth"):
        (root / folder).mkdir()
        (root / folder / "a.nii.gz").symlink_to(simulated / "sub-1/anat/sub-1_mask.nii.gz")
    packed = CliRunner().invoke(app, ["pack", "agmr_net", str(root / "dist"), "--json"])
    return {
        "SCAN": simulated / "sub-1/anat/sub-1_T1w.nii.gz",
        "WEIGHTS": runs["agmr_net"],
        "BIDS": bids,
        "SOURCE": root / "source",
        "MASKS": root / "masks",
        "TRUTH": root / "truth",
        "ZIP": json.loads(packed.stdout)["archive"],
        "DATA": simulated,
        "CACHE": root / "cache",
    }


def run(name, inputs, out):
    """The command's error, which must be one line."""
    line = COMMANDS[name]
    for word, given in {**inputs, "OUT": out}.items():
        line = line.replace(word, str(given))
    done = CliRunner().invoke(app, line.split(), prog_name="stroke-nets")
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (2, 3), done.output
    (error,) = (text for text in done.stderr.splitlines() if text.startswith("error: "))
    assert done.stderr.rstrip().endswith(error)
    return error


@pytest.mark.parametrize("name", COMMANDS)
def test_S1_an_output_that_cannot_be_written_is_one_line(name, inputs, tmp_path):
    (tmp_path / "file").write_text("mine")
    long = tmp_path / ("n" * 300)
    for out in (tmp_path / "file" / "out", long, "/sys/stroke-nets"):
        error = run(name, inputs, out)
        assert str(out) in error or str(tmp_path / "file") in error
        assert "; " in error  # what to do
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["manifest", "evaluate", "tables", "pack", "unpack", "prepare"])
def test_S1_a_full_disk_names_what_was_to_be_written(name, inputs, tmp_path, full_disk):
    with full_disk(50):
        error = run(name, inputs, tmp_path / "out")
    assert str(tmp_path / "out") in error
    assert "partial" not in error
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"dataset_description.json", ".bidsignore"}  # they fit


def test_S1_safetensors_on_a_full_disk_are_one_line(tmp_path, full_disk):
    with full_disk(50), pytest.raises(SafetensorError) as raised:
        save_file({"weight": torch.zeros(100)}, tmp_path / "weights")
    assert str(find_error(raised.value)).startswith("File too large; ")


def test_S1_monais_saving_transform_on_a_full_disk_names_the_file(tmp_path, full_disk):
    saver = SaveImage(tmp_path, writer=HeaderWriter, separate_folder=False, print_log=False)
    scan = MetaTensor(torch.rand(1, 9, 9, 9), meta={"filename_or_obj": "a.nii.gz"})
    with full_disk(50), pytest.raises(RuntimeError, match="suitable writer") as raised:
        saver(scan)
    found = str(find_error(raised.value))
    assert found.startswith(f"{tmp_path / 'a_trans.nii.gz'}: File too large; ")


def test_S1_curves_on_a_full_disk_name_their_folder(tmp_path, full_disk, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda told: None)  # of TensorBoard's thread
    before = threading.enumerate()
    with full_disk(0), pytest.raises(OSError, match="File too large") as raised:
        Curves(str(tmp_path))
    for thread in {*threading.enumerate()} - {*before}:
        thread.join()
    assert raised.value.filename == str(tmp_path)
