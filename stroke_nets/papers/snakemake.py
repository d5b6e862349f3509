"""Run a grid of jobs by Snakemake, which lives in an environment of its own.

Its dependencies clash with newer ``packaging``, so that it is started as a program and never
imported; what it knows of the jobs is one JSON file.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from stroke_nets.errors import UsageError
from stroke_nets.files import write_whole
from stroke_nets.papers.grid import Job

ENVIRONMENT = Path(".snakemake-venv")  # what `make reproduce-env` makes
# glibc: keep memory for the next step's maps; getting it anew takes about a tenth of a step
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(32 << 30)}
EXECUTORS = ("local", "slurm")


@dataclass(frozen=True)
class How:
    """How a grid is run.

    Attributes:
        executor: ``local``, or ``slurm``.
        parallel: jobs at once.
        resume: go on with a grid that was stopped.
        resources: of each Slurm job, ``name=value``.
        program: Snakemake; looked for if None.
    """

    executor: str = "local"
    parallel: int = 2
    resume: bool = False
    resources: Sequence[str] = field(default_factory=tuple)
    program: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.executor not in EXECUTORS:
            raise UsageError(f"--executor {self.executor}: choose local or slurm")


def find_snakemake(program: Path | None = None) -> Path:
    """The program: as given, of the environment that ``make reproduce-env`` makes, or on PATH.

    Raises:
        UsageError: it is not there.
    """
    if program is not None and not program.is_file():
        raise UsageError(f"--snakemake {program}: no such program; give its path or leave it out")
    made = ENVIRONMENT / "bin" / "snakemake"
    found = program or (made if made.is_file() else shutil.which("snakemake"))
    if found is None:
        raise UsageError(
            "snakemake: not found; run 'make reproduce-env' in a clone, or give --snakemake PATH"
        )
    return Path(found)


def arguments(grid: Path, how: How) -> list[str]:
    """Snakemake's arguments; paths of the jobs are relative to the current folder."""
    workflow = str(resources.files("stroke_nets.papers") / "Snakefile")
    found = ["--snakefile", workflow, "--config", f"grid={grid}"]
    # a job is done when its file is there: not made again because its input or code is newer
    found += ["--keep-going", "--rerun-triggers", "mtime", "--quiet", "rules"]
    found += ["--rerun-incomplete"] if how.resume else []
    if how.executor == "slurm":
        found += ["--executor", "slurm", "--jobs", str(how.parallel), "--default-resources"]
        return [*found, *how.resources]
    return [*found, "--cores", str(how.parallel)]


def write_grid(jobs: Sequence[Job], path: Path) -> None:
    """Write what the Snakefile reads."""
    content = [
        {
            "name": job.name,
            "output": str(job.output),
            "command": job.line,
            "log": str(job.log),
            "needs": [str(need) for need in job.needs],
        }
        for job in jobs
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=1) + "\n")


def run_grid(jobs: Sequence[Job], grid: Path, how: How) -> int:
    """Run the jobs that are not done, and go on after one that fails.

    Args:
        jobs: the grid.
        grid: the JSON file to write for the Snakefile.
        how: see `How`.

    Returns:
        Snakemake's exit status; 0 if every job is done.

    Raises:
        UsageError: Snakemake is not there.
    """
    program = str(find_snakemake(how.program))
    write_grid(jobs, grid)
    threads = max(1, (os.cpu_count() or 1) // how.parallel) if how.executor == "local" else None
    environment = KEEP_MEMORY | os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    # an installed or PYTHONPATH package, not Snakemake's environment, is what the jobs import
    command = [program, *arguments(grid, how)]
    if how.resume:
        subprocess.run([*command, "--unlock"], env=environment, check=False, capture_output=True)
    return subprocess.run(command, env=environment, check=False).returncode


def failures(jobs: Sequence[Job]) -> list[str]:
    """One line for each job that is not done: the last line of its log, or what it waits for."""
    undone = {job.output: job for job in jobs if not job.output.is_file()}
    lines = []
    for job in undone.values():
        waits = next((undone[need].name for need in job.needs if need in undone), None)
        text = job.log.read_text(errors="replace").strip() if job.log.is_file() else ""
        reason = f"waits for {waits}" if waits else text.rpartition("\n")[2] or "not started"
        lines.append(f"{job.name}: {reason}" + ("" if waits else f" ({job.log})"))
    return lines
