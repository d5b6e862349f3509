"""The benchmark: its patients, jobs, trainings and expected time; claims have their own file."""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from stroke_nets.errors import UsageError
from stroke_nets.papers import bench_data, bench_runs, bench_time, run_method, settings
from stroke_nets.papers.bench_time import bench_config, job_seconds
from stroke_nets.papers.grid import all_tables, expand
from stroke_nets.papers.reproduce import places
from stroke_nets.synthesis.t1w import read_sources
from stroke_nets.training.bfloat16 import BFloat16Inferer
from stroke_nets.transforms.brain_box import AFFINE, SHAPE

BUNDLES = Path(__file__).parents[2] / "bundles"
BENCH = places("bench", BUNDLES, None, ())
PARTS = {"train": 2, "validation": 1, "test": 2, "unlabelled": 1}
TINIER = {"size": 48, "max_epochs": 3, "val_interval": 1, "patience": 1, "patch_size": [32] * 3}
TINIER |= {"sampler": {"num_samples": 8}, "train_batches": 1, "val_batches": 1}


def runs(jobs):
    return [job for job in jobs if job.run]


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    bench_data.write(root, seed=3, parts=PARTS)
    return root


@pytest.fixture
def tinier(monkeypatch):
    chosen = settings.scale("bench")
    monkeypatch.setitem(chosen, "options", chosen["options"] | TINIER)


def test_the_data_set_has_its_parts_on_the_template_s_grid(patients):
    records = json.loads((patients / "manifest.json").read_text())["records"]
    assert Counter(record["split"] for record in records) == PARTS
    assert len({record["sha256"]["image"] for record in records}) == len(records)
    for record in records:
        image = nib.load(patients / record["image"])
        assert image.shape == SHAPE
        assert np.array_equal(image.affine, AFFINE)
        assert ("label" in record) is (record["split"] != "unlabelled")


def test_patients_fill_thirds_of_lesion_volume_and_are_the_same_again():
    sources = read_sources(None)
    kept = list(bench_data.chosen(9, 3, sources))
    ml = sorted(float(patient.mask.sum()) * 0.008 for patient in kept)
    assert 0 < ml[0] < 1 <= ml[1] < 20 <= ml[2]
    again = next(iter(bench_data.chosen(9, 3, sources)))
    assert np.array_equal(again.image, kept[0].image)


def test_an_unknown_part_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="part tests: choose among train, validation, test"):
        bench_data.write(tmp_path, seed=0, parts={"tests": 1})


def test_rows_whose_difference_is_the_claim_run_with_two_seeds():
    for table, seeds in (("agmr_table03", 1), ("agmr_table08", 2), ("mscsa_table1_small", 2)):
        per_run = Counter(job.run for job in runs(expand([table], BENCH)))
        assert set(per_run.values()) == {seeds}, table


def test_data_come_first_and_labels_know_no_held_out_patient():
    jobs = expand(all_tables(), BENCH)
    data = [job for job in jobs if job.step == "data"]
    assert [job.output.parent.name for job in data] == ["simulated", "simulated_few"]
    assert list(data[0].command[2:6]) == ["bench-data", "data/bench/simulated", "--seed", "0"]
    labels = [job for job in jobs if job.step == "label"]
    assert len(labels) == 2
    assert all("--fold" in job.command for job in labels)


def test_sources_are_given_to_the_data_s_job_and_to_nothing_else(tmp_path):
    where = places("bench", BUNDLES, None, (), sources=tmp_path)
    data = [job for job in expand(["agmr_table08"], where) if job.step == "data"]
    assert list(data[0].command[-2:]) == ["--sources", str(tmp_path)]
    with pytest.raises(UsageError, match="only --scale bench makes patients of them"):
        places("demo", BUNDLES, None, (), sources=tmp_path)


@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
@pytest.mark.parametrize("run", ["unet/default", "mscsa_default/without_mscsa"])
def test_a_run_validates_on_its_part_predicts_the_test_patients_and_is_kept(
    run, patients, tmp_path, tinier, monkeypatch
):
    bundle, overlay = run.split("/")
    where = {"dataset_dir": patients, "runs": tmp_path, "scale_name": "bench"}

    def again():
        return run_method.run_method(BUNDLES / bundle, overlay=overlay, fold=1, **where)

    folder = again()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["seed"], config["part"], config["fold"]) == (1, "validation", 1)
    assert "BFloat16Inferer" in config["train"]["inferer"]["_target_"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["n_cases"] == PARTS["test"]
    last = (folder / "checkpoints" / "last.pt").stat().st_mtime_ns
    (folder / "summary.json").unlink()
    again()  # a training that stopped early has ended, though not all epochs are done
    assert (folder / "checkpoints" / "last.pt").stat().st_mtime_ns == last
    (line,) = bench_runs.run_lines(tmp_path, [run])
    assert line["seed"] == 1
    assert [epoch for epoch, _ in line["curve"]] == list(range(1, line["epochs"] + 1))
    markdown, table, picture = bench_runs.write_runs([line], tmp_path / "out")
    assert f"| {run} | 1 |" in markdown.read_text()
    assert table.is_file()
    assert picture.is_file()


@pytest.mark.parametrize(
    ("dice", "stopped", "flat"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], False, False),
        ([0.1, 0.4, 0.5, 0.5, 0.5, 0.5, 0.505, 0.5], False, True),
        ([0.5, 0.4, 0.4], True, True),
        ([0.5, 0.5], False, False),  # too short to tell
    ],
)
def test_a_plateau_is_an_early_stop_or_a_flat_end(dice, stopped, flat):
    assert bench_runs.plateau(list(enumerate(dice)), stopped) is flat


def test_expected_seconds_follow_the_steps(monkeypatch):
    chosen = settings.scale("bench")
    monkeypatch.setitem(chosen, "parts", {"isles2015": {"validation": 2, "test": 4}})
    options = {"max_epochs": 4, "val_interval": 2, "sampler": {"num_samples": 80}, "batch_size": 8}
    monkeypatch.setitem(chosen, "options", chosen["options"] | options)
    (job,) = [job for job in expand(["agmr_table11"], BENCH) if job.run == "unet/isles2015"]
    batches = np.ceil(bench_time.BRAIN_SLICES / 8)
    forward = (2 * 2 + 4) * batches / 3  # two validations of two patients, four predictions
    found = job_seconds(job, "bench", {"unet/default": 3.0})
    assert found == pytest.approx(bench_time.START + 3 * (4 * 10 + forward))


def test_the_table_of_seconds_has_every_network_of_the_benchmark():
    seconds = bench_time.measured()["seconds"]
    trained = [job for job in runs(expand(all_tables(), BENCH)) if job.step != "ensemble"]
    assert all(job_seconds(job, "bench", seconds) > bench_time.START for job in trained)


def test_slices_train_channels_last_with_the_same_result():
    config = bench_config(BUNDLES / "unet", "default")
    network = config.get_parsed_content("network_def").eval()
    batch = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        before = network(batch)
        after = BFloat16Inferer("bfloat16")(batch, network)
    weights = [p for p in network.parameters() if p.dim() == 4 and p.shape[2] > 1]
    layout = torch.channels_last
    assert all(p.is_contiguous(memory_format=layout) for p in weights)
    assert after.dtype == before.dtype
    assert float((after - before).norm() / before.norm()) < 0.1
