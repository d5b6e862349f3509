"""The plan of MSCSA's Table 1 runs to its end: every step of it, in this process."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.papers import settings
from stroke_nets.papers.grid import PROGRAM, STEPS, expand
from stroke_nets.papers.reproduce import Request, places, reproduce
from stroke_nets.papers.snakemake import How

BUNDLES = Path(__file__).parents[2] / "bundles"
SHORT = {"max_epochs": 1, "train_batches": 1, "val_batches": 1, "patch_size": [32, 32, 32]}

pytestmark = [
    pytest.mark.zoo,
    pytest.mark.filterwarnings("default"),  # MONAI and Ignite warn about their own calls
]


def run_jobs(jobs, *_):
    """Every command of the plan in order, as Snakemake would start it, without new processes."""
    for job in jobs:
        assert all(need.is_file() for need in job.needs), job.name
        if not job.output.is_file():
            done = CliRunner().invoke(app, job.command[len(PROGRAM) :], catch_exceptions=False)
            assert done.exit_code == 0, job.name
        assert job.output.is_file(), job.name


def test_the_plan_of_table_1_runs_to_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = settings.scale("demo")
    monkeypatch.setitem(demo, "options", demo["options"] | SHORT)
    monkeypatch.setitem(demo, "patients", 4)
    monkeypatch.setitem(demo, "unlabelled", 1)
    monkeypatch.setattr("stroke_nets.papers.reproduce.run_grid", run_jobs)
    monkeypatch.setattr(sys, "argv", ["stroke-nets"])
    tables = ["mscsa_table1_entire", "mscsa_table1_small"]
    where = places("demo", BUNDLES, None, ())
    assert {job.step for job in expand(tables, where)} == set(STEPS)
    reproduce(Request(tables, where, How(), Path("tables")))
    for table in tables:
        text = Path("tables", f"{table}.md").read_text()
        assert text.count("2 of 2") == 10
        assert "not run" not in text


def test_the_benchmark_of_table_1_runs_to_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bench = settings.scale("bench")
    short = {"max_epochs": 1, "train_batches": 1, "val_batches": 1, "val_interval": 1}
    monkeypatch.setitem(bench, "options", bench["options"] | short)
    monkeypatch.setitem(bench, "repeats", {"mscsa_table1_small": 1})
    parts = {"train": 2, "validation": 1, "test": 3, "unlabelled": 1}
    monkeypatch.setitem(bench, "parts", {"atlas_v20": parts})
    monkeypatch.setattr("stroke_nets.papers.reproduce.run_grid", run_jobs)
    monkeypatch.setattr("stroke_nets.papers.bench_time.speed_here", lambda _: 1.0)  # measures none
    monkeypatch.setattr(sys, "argv", ["stroke-nets"])
    where = places("bench", BUNDLES, None, ())
    assert {job.step for job in expand(["mscsa_table1_small"], where)} == set(STEPS) - {"choose"}
    reproduce(Request(["mscsa_table1_small"], where, How(), Path("tables")))
    text = Path("tables", "mscsa_table1_small.md").read_text()
    assert text.count("1 of 1") == 10
    assert "| Seeds |" in text
    assert "- Build: " in Path("tables", "README.md").read_text()
    claims = Path("tables", "claims.md").read_text()
    assert claims.count("undecided (0 of 5 comparisons)") == 2  # one small lesion decides nothing
    assert Path("tables", "runs.md").read_text().count("/without_mscsa | 0 |") == 5
