"""``stroke-nets reproduce``: the grid of some tables, run to its end, then tables and figures."""

import datetime
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import write_whole
from stroke_nets.inspection.consent import require_consent
from stroke_nets.papers.figure_style import Source
from stroke_nets.papers.figures import published_figures, write_figure
from stroke_nets.papers.grid import (
    LAYERS,
    RULES,
    STEPS,
    Job,
    Places,
    all_tables,
    dataset_of,
    expand,
    folds_of,
)
from stroke_nets.papers.settings import scale
from stroke_nets.papers.snakemake import How, arguments, failures, run_grid
from stroke_nets.papers.table_files import write_table
from stroke_nets.papers.tables import build_table, published

TINY = (
    "Simulated patients, every {step}th voxel, tiny networks, {epochs} short epochs, {folds} "
    "folds: it shows that the pipeline runs and says nothing about any method."
)
BENCH = (
    "Simulated patients, 2 mm, narrow networks: which method wins here, by the protocol in "
    "docs/benchmark.md; no accuracy on patients."
)


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        tables: names of tables.
        places: where everything is.
        how: the grid is run.
        out: folder of the tables and figures.
    """

    tables: Sequence[str]
    places: Places
    how: How
    out: Path

    @property
    def note(self) -> str:
        """What stands above each table and figure; empty on real data."""
        chosen = scale(self.places.scale)
        if self.places.scale != "demo":
            return BENCH if "parts" in chosen else ""
        epochs = chosen["options"]["max_epochs"]
        return TINY.format(step=chosen["step"], folds=chosen["folds"], epochs=epochs)


def places(
    scale_name: str,
    bundles: Path,
    runs: Path | None,
    datasets: Sequence[str],
    trust: bool = False,
    rule: str | None = None,
    sources: Path | None = None,
) -> Places:
    """Where a scale reads and writes, with what the user has put elsewhere.

    Args:
        scale_name: ``demo``, ``bench`` or ``full``.
        bundles: the folder of all bundles.
        runs: the folder of all runs; by default the scale's.
        datasets: ``name=folder`` each.
        trust: use bundles that are not this repository's own.
        rule: who makes the pseudo labels, a key of `grid.RULES`; by default the scale's.
        sources: prepared anatomies and masks for the patients of ``bench``.

    Raises:
        UsageError: an unknown scale, rule or data set, sources that are not used, or bundles from
            elsewhere that are not trusted.
        DataError: one of those is damaged.
    """
    for bundle in sorted(file.parents[1] for file in bundles.glob("*/configs/metadata.json")):
        require_consent(bundle, trust)
    chosen = scale(scale_name)
    roots = dict(chosen["datasets"])
    for given in datasets:
        name, equals, folder = given.partition("=")
        if name not in roots or not equals:
            raise UsageError(
                f"--dataset {given}: write NAME=FOLDER, NAME one of {', '.join(roots)}"
            )
        roots[name] = folder
    found = {name: Path(root) for name, root in roots.items()}
    if sources and "parts" not in chosen:
        raise UsageError(f"--sources {sources}: only --scale bench makes patients of them")
    rule = rule or chosen.get("rule", "paper")
    return Places(scale_name, bundles, runs or Path(chosen["runs"]), found, rule, sources)


def table_names(name: str) -> list[str]:
    """The tables that a name means: one, all of them, or the parts of one (``mscsa_table1``).

    Raises:
        UsageError: there is no such table.
    """
    known = all_tables()
    if name == "all":
        return known
    found = [table for table in known if table == name or table.startswith(f"{name}_")]
    if not found:
        raise UsageError(f"table {name!r}: choose among {', '.join(known)}, or all")
    return found


def reproduce(request: Request, dry_run: bool = False) -> dict[str, Any]:
    """Run what is not done, then write tables and figures.

    Returns:
        The number of jobs, those that were to do (their commands, in a dry run), and the files
        that were written.

    Raises:
        UsageError: Snakemake or a data set is not there.
        DataError: jobs failed; tables and figures of the others are written.
    """
    start = time.monotonic()
    jobs = expand(request.tables, request.places)
    todo = [job for job in jobs if not job.output.is_file()]
    _announce(request, jobs, todo, dry_run)
    grid = request.places.runs / "grid.json"
    if dry_run:
        print(*_plan(todo, request.places.rule), sep="\n")
        print("snakemake", *arguments(grid, request.how))
        return {"jobs": len(jobs), "commands": [job.line for job in todo]}
    _require_data(jobs, todo, request.places)
    if todo:
        run_grid(jobs, grid, request.how)
    failed = failures(jobs)
    written = _write_results(request, {job.run for job in jobs if job.run})
    _write_readme(request, jobs, todo, failed, time.monotonic() - start)
    if failed:
        print(*(f"failed: {line}" for line in failed), sep="\n", file=sys.stderr)
        raise DataError(
            f"{len(failed)} of {len(jobs)} jobs are not done; fix what their logs say and give "
            "the same command with --resume"
        )
    return {"jobs": len(jobs), "done_before": len(jobs) - len(todo), "written": written}


def _plan(todo: Sequence[Job], rule: str) -> Iterator[str]:
    """The commands, below a heading for each step of the plan."""
    for number, (step, jobs) in enumerate(groupby(todo, lambda job: job.step), start=1):
        which = f" ({rule}: {RULES[rule]})" if step == "label" else ""
        yield f"# step {number}: {STEPS[step]}{which}"
        yield from (job.line for job in jobs)


def _announce(request: Request, jobs: Sequence[Job], todo: Sequence[Job], dry_run: bool) -> None:
    """Say how much there is to do, and what it costs."""
    print(f"{len(jobs)} jobs, {len(jobs) - len(todo)} of them done already")
    if request.places.scale == "full" and todo:
        from stroke_nets.papers.cost import report  # here, because it imports MONAI

        print(*report(todo, request.places.scale, measure=not dry_run), sep="\n", flush=True)
    elif request.places.scale == "bench" and todo:
        from stroke_nets.papers.bench_time import expected  # here, because it imports MONAI

        where = request.places
        print(
            *expected(todo, where.scale, where.bundles, request.how.parallel), sep="\n", flush=True
        )
    elif todo:
        budget = scale(request.places.scale)["seconds_per_run"]
        minutes = budget * len(todo) / request.how.parallel / 60
        print(f"about {budget} s each on one core: {minutes:.0f} min")


def _require_data(jobs: Sequence[Job], todo: Sequence[Job], places: Places) -> None:
    """Refuse to start a grid whose data sets nobody makes and that are not there."""
    made = {job.output for job in jobs}
    for job in todo:
        for need in job.needs:
            if need not in made and not need.is_file():
                raise UsageError(
                    f"{need}: no such manifest; run 'stroke-nets prepare', or name the data root "
                    f"by --dataset ({', '.join(places.datasets)})"
                )


def _write_results(request: Request, runs: set[str]) -> list[Path]:
    """Write the tables that were asked for, and the figures whose runs were."""
    written = []
    wanted = [name for name in request.tables if name != LAYERS]
    if LAYERS in request.tables:
        from stroke_nets.papers.layers import write_layers  # here, because it imports torch

        written.append(write_layers(request.out))
    for name, content in published(wanted).items() if wanted else ():
        table = build_table(name, content, request.places.runs)
        folds = folds_of(name, content, request.places.scale)
        seeds = "parts" in scale(request.places.scale)
        written.append(write_table(table, request.out, folds, request.note, seeds)[0])
    if "parts" in scale(request.places.scale):
        written += _write_benchmark(request, sorted(runs))
    for name, content in published_figures().items():
        rows = [row["run"] for row in content.get("rows", [content])]
        if not runs.issuperset(rows):
            continue
        root = request.places.datasets[str(dataset_of(rows[0]))]
        source = Source(request.places.runs, root, note=request.note)
        try:
            written.append(write_figure(name, content, source, request.out)[0])
        except UsageError as error:
            print(f"not drawn: {name}: {error}")
    print(*(f"wrote {path}" for path in written), sep="\n")
    return written


def _write_benchmark(request: Request, runs: Sequence[str]) -> list[Path]:
    """Write what became of the claims, and how the trainings went."""
    from stroke_nets.papers.bench_runs import run_lines, write_runs
    from stroke_nets.papers.claims import judge, write_claims

    where = request.places
    claims = write_claims(judge(request.tables, where.runs), request.out, request.note)
    lines = run_lines(where.runs, runs, where.scale)
    return [claims[0], write_runs(lines, request.out, request.note)[0]]


def _build() -> str:
    """The version and, in a clone, the commit of the code here."""
    root = Path(__file__).parents[2]
    git = shutil.which("git") if (root / ".git").exists() else None
    if git is None:
        return stroke_nets.__version__
    found = subprocess.run(
        [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{stroke_nets.__version__}, commit {found.stdout.strip() or 'unknown'}"


def _write_readme(
    request: Request, jobs: Sequence[Job], todo: Sequence[Job], failed: Sequence[str], wall: float
) -> None:
    """What was run, when, how long it took and what failed: `README.md` beside the tables."""
    trained = [job for job in jobs if job.run]
    facts = {
        "Command": f"`stroke-nets {' '.join(sys.argv[1:])}`",
        "Build": _build(),
        "Date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Wall time": f"{wall / 60:.1f} min, {request.how.parallel} jobs at once on "
        f"{os.cpu_count()} cores",
        "Jobs": f"{len(jobs)}, of which {len(trained)} runs (method, overlay and fold); "
        f"{len(jobs) - len(todo)} were done before",
        "Failed": str(len(failed)),
    }
    if todo:
        used = wall * request.how.parallel / len(todo)
        facts["Seconds of one slot for each job"] = f"{used:.0f}, tables and figures included"
    title = {"demo": "Rehearsal", "bench": "Benchmark"}.get(request.places.scale, "Results")
    lines: list[Any] = [f"# {title}", ""]
    lines += [f"**{request.note}**", ""] if request.note else []
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += [f"- {line}" for line in failed]
    request.out.mkdir(parents=True, exist_ok=True)
    write_whole(request.out / "README.md", "\n".join([*lines, ""]))
