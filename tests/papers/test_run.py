"""One run from training to evaluation in one process, what it ends in, and what it costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from stroke_nets.errors import DataError
from stroke_nets.networks.agmr_net import CPA
from stroke_nets.papers import cost, demo_data, layers, reproduce, settings
from stroke_nets.papers.grid import Places, expand
from stroke_nets.papers.reproduce import Request, places
from stroke_nets.papers.run_method import overlays_of, overrides, run_method
from stroke_nets.papers.snakemake import How
from stroke_nets.runs.bundle_run import config_files
from stroke_nets.training import checkpoint_file

BUNDLES = Path(__file__).parents[2] / "bundles"
TINIER = {
    "size": 48,
    "max_epochs": 1,
    "sampler": {"num_samples": 8},
    "train_batches": 1,
    "val_batches": 1,
}

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


@pytest.fixture
def tinier(monkeypatch):
    """The demo's settings, shorter."""
    demo = settings.scale("demo")
    monkeypatch.setitem(demo, "options", demo["options"] | TINIER)


def run(bundle, overlay, simulated, runs, **options):
    where = {"dataset_dir": simulated, "runs": runs, "scale_name": "demo"}
    return run_method(BUNDLES / bundle, overlay=overlay, fold=1, **where, **options)


def test_a_run_ends_in_its_summary_and_a_finished_training_is_kept(simulated, tmp_path, tinier):
    folder = run("agmr_net", "table05_cff", simulated, tmp_path, stage_maps=True)
    assert folder == tmp_path / "agmr_net" / "table05_cff" / "fold1"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["overlay"], summary["fold"], summary["n_cases"]) == ("table05_cff", 1, 2)
    assert "plane_weight2" in np.load(folder / "stage_maps.npz")
    trained = (folder / "checkpoints" / "last.pt").stat().st_mtime_ns
    (folder / "summary.json").unlink()
    run("agmr_net", "table05_cff", simulated, tmp_path)
    assert (folder / "summary.json").is_file()
    assert (folder / "checkpoints" / "last.pt").stat().st_mtime_ns == trained


def test_an_unfinished_training_goes_on(simulated, tmp_path, tinier, monkeypatch):
    folder = run("unet", "isles2015", simulated, tmp_path)
    path = folder / "checkpoints" / "last.pt"
    first = torch.load(path, weights_only=True)["trainer"]["iteration"]
    demo = settings.scale("demo")
    monkeypatch.setitem(demo, "options", demo["options"] | {"max_epochs": 2})
    run("unet", "isles2015", simulated, tmp_path)
    assert torch.load(path, weights_only=True)["trainer"]["iteration"] == 2 * first


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_T8_a_finished_training_whose_last_checkpoint_is_damaged_goes_on(
    simulated, tmp_path, tinier, damage, monkeypatch
):
    demo = settings.scale("demo")
    monkeypatch.setitem(demo, "options", demo["options"] | {"max_epochs": 2})
    folder = run("unet", "isles2015", simulated, tmp_path)
    path = folder / "checkpoints" / "last.pt"
    whole = checkpoint_file.read(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    with pytest.raises(DataError):
        checkpoint_file.read(path)
    run("unet", "isles2015", simulated, tmp_path)
    again = checkpoint_file.read(path)
    assert again["trainer"] == whole["trainer"]
    assert all(torch.equal(again["network"][k], v) for k, v in whole["network"].items())


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("bundles/unet/configs/train.yaml", {"size": 96, "batch_size": 8}),
        ("bundles/mscsa_default/configs/train.yaml", {"patch_size": [32] * 3, "batch_size": 2}),
    ],
)
def test_a_scales_options_go_where_they_belong(file, found):
    taken = overrides((BUNDLES.parent / file).read_text(), "demo")
    assert found.items() <= taken.items()
    assert ("sampler#num_samples" in taken) == ("size" in found)
    assert overrides((BUNDLES.parent / file).read_text(), "full") == {}


def test_stage_5_of_the_demo_has_a_pixel_for_each_cell_of_the_grid():
    """Fig. 10 shows CPA's 6 x 6 cells at every stage; stage 5 has a sixteenth of the rows."""
    assert settings.scale("demo")["options"]["size"] // 16 == CPA().pool.output_size


def test_demo_patients_are_thinned_dealt_and_some_unlabelled(tmp_path):
    path = demo_data.write(tmp_path, seed=1, patients=2, unlabelled=1, step=8, folds=2)
    records = json.loads(path.read_text())["records"]
    assert sorted(record.get("fold") for record in records[:2]) == [0, 1]
    assert records[2]["split"] == "unlabelled"
    assert "label" not in records[2]


def test_table_2_is_printed_from_the_network_and_claims_no_count_for_a_block(tmp_path):
    rows = layers.layer_rows()
    assert all(row[1] == row[2] for row in rows[:-1])  # the paper's output sizes
    assert sum(row[3] for row in rows[:-1]) == rows[-1][3] == layers.PAPER_TOTAL
    text = layers.write_layers(tmp_path).read_text()
    assert "| 3D encoder 2 | 2 x 96 x 96 | 2 x 96 x 96 | 166,272 |\n" in text
    assert "one of several layer lists" in text


def test_operations_of_a_training_step_are_counted_by_hand():
    jobs = expand(["agmr_table11"], places("full", BUNDLES, None, ()))
    (training,) = cost.trainings(jobs[:1], "full")
    assert training.batch == (16, 4, 192, 192)
    assert training.iterations == 150 * 212  # 3388 slices by 16
    total = cost.total_flops([training])["slices"]
    first = 3 * 16 * 2 * 192 * 192 * 9 * 4 * 32  # the first convolution alone
    assert total == cost.step_flops(training.config, training.batch) * 150 * 212
    assert total > 10 * first * 150 * 212


def test_cost_of_a_dry_run_measures_nothing(monkeypatch):
    monkeypatch.setattr(cost, "measured_rate", None)
    jobs = expand(["agmr_table06"], places("full", BUNDLES, None, ()))
    lines = cost.report(jobs, "full", measure=False)
    assert lines[0].splitlines()[1].split()[:2] == ["slices", "3"]
    assert lines[-1] == "hours: not measured in a dry run"


def test_hours_are_operations_by_the_measured_rate(monkeypatch):
    jobs = expand(["agmr_table06"], places("full", BUNDLES, None, ()))
    total = cost.total_flops(cost.trainings(jobs, "full"))["slices"]
    monkeypatch.setattr(cost, "measured_rate", lambda training: total / 3600 / 7)
    kind = "GPU" if torch.cuda.is_available() else "CPU"
    assert cost.report(jobs, "full", measure=True)[-1].startswith(f"expected: 7 {kind}-hours")


@pytest.mark.parametrize(
    ("table", "batch"),
    [("agmr_table11", (8, 4, 48, 48)), ("mscsa_table1_small", (2, 1, 32, 32, 32))],
)
def test_a_rate_is_measured_by_at_least_one_step(table, batch, monkeypatch):
    job = next(job for job in expand([table], places("demo", BUNDLES, None, ())) if job.run)
    files = config_files(job.bundle, "train", overlays_of(job.bundle, "default", "demo"))
    config = ConfigParser()
    config.read_config(files)
    steps = []
    monkeypatch.setattr(cost, "_step", lambda *given: steps.append(given[1].shape))
    assert cost.measured_rate(cost.Training(job, config, batch, 1), seconds=0) > 0
    assert steps[-1] == (1 if len(batch) == 5 else 2, *batch[1:])


def test_results_of_a_failed_grid_are_written_and_the_failures_named(
    simulated, tmp_path, tinier, monkeypatch, capsys
):
    where = dict.fromkeys(("atlas_r12", "isles2015", "atlas_v20"), simulated)
    request = Request(
        ["agmr_table02", "agmr_table06"],
        Places("demo", BUNDLES, tmp_path / "runs", where),
        How(),
        tmp_path / "out",
    )
    run("attention_unet", "default", simulated, tmp_path / "runs")
    monkeypatch.setattr(reproduce, "run_grid", lambda *_: 1)
    with pytest.raises(DataError, match="5 of 7 jobs are not done"):
        reproduce.reproduce(request)
    assert "failed: agmr_net_table06_fa_fold0: not started" in capsys.readouterr().err
    table = (tmp_path / "out" / "agmr_table06.md").read_text()
    assert "Simulated patients" in table
    assert "1 of 2" in table
    assert "not run" in table
    assert (tmp_path / "out" / "agmr_table02.md").is_file()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "- Failed: 5" in readme
    assert "Simulated patients" in readme
