"""A grid through Snakemake itself: order, a failure, going on, resuming."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from stroke_nets.errors import UsageError
from stroke_nets.papers import snakemake
from stroke_nets.papers.grid import Job

PROGRAM = os.environ.get("STROKE_NETS_SNAKEMAKE") or shutil.which("snakemake")
MADE = Path(__file__).parents[2] / snakemake.ENVIRONMENT / "bin" / "snakemake"
PROGRAM = PROGRAM or (str(MADE) if MADE.is_file() else None)
needs_snakemake = pytest.mark.skipif(
    PROGRAM is None,
    reason="no snakemake: run make reproduce-env, or name one in STROKE_NETS_SNAKEMAKE",
)
COPY = "import sys; open(sys.argv[1], 'w').write('x'); open('order', 'a').write(sys.argv[1] + ' ')"


def job(name, code=COPY, needs=()):
    output = Path(name) / "summary.json"
    needed = tuple(Path(need) / "summary.json" for need in needs)
    return Job(name, output, ["-c", code, str(output)], needed)


@needs_snakemake
def test_a_failed_run_is_listed_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails = "import sys; sys.exit('error: no more memory')"
    jobs = [job("a"), job("b", fails, ["a"]), job("c", needs=["b"]), job("d", needs=["a"])]
    how = snakemake.How(program=Path(PROGRAM), parallel=1)
    assert snakemake.run_grid(jobs, Path("grid.json"), how) != 0
    assert Path("order").read_text() == "a/summary.json d/summary.json "
    assert snakemake.failures(jobs) == [
        "b: error: no more memory (b/summary.log)",
        "c: waits for b",
    ]
    fixed = [jobs[0], job("b", needs=["a"]), *jobs[2:]]
    again = snakemake.How(program=Path(PROGRAM), parallel=1, resume=True)
    assert snakemake.run_grid(fixed, Path("grid.json"), again) == 0
    assert sorted(Path("order").read_text().split()) == sorted(
        f"{name}/summary.json" for name in "adbc"
    )
    assert snakemake.failures(fixed) == []


def test_without_snakemake_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="not found; run 'make reproduce-env'"):
        snakemake.run_grid([job("a")], Path("grid.json"), snakemake.How())
    with pytest.raises(UsageError, match="--snakemake x: no such program"):
        snakemake.find_snakemake(Path("x"))


def test_an_unknown_executor_is_one_line():
    with pytest.raises(UsageError, match="--executor pbs: choose local or slurm"):
        snakemake.How("pbs")


def test_the_environment_of_make_is_found_before_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = snakemake.ENVIRONMENT / "bin" / "snakemake"
    made.parent.mkdir(parents=True)
    made.write_text("")
    assert snakemake.find_snakemake() == made
    assert snakemake.find_snakemake(Path(sys.executable)) == Path(sys.executable)
