"""Commands that make the papers' tables and figures."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stroke_nets.commands.app import (
    Json,
    Panel,
    Policy,
    Quiet,
    Runs,
    Scale,
    Trust,
    app,
    hushed,
    tell,
)
from stroke_nets.errors import UsageError

PANEL: Panel = "Papers"


def _out(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        "--out", "-o", help=f"Folder to write the {what} to."
    )
    return option


@app.command(rich_help_panel=PANEL)
def tables(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Tables. Default: all.")
    ] = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, _out("tables")] = Path("tables"),
    policy: Policy = "paper",
    note: Annotated[str, typer.Option(help="Text to print above each table.")] = "",
    costs: Annotated[
        bool,
        typer.Option(
            "--costs",
            help="Write method_costs.md and .csv as well: parameters, operations and "
            "seconds of every method, measured on this machine in some minutes.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the papers' tables, our results beside theirs, as Markdown, LaTeX and CSV.

    Example: stroke-nets tables agmr_table03 mscsa_table1_small --runs runs --out tables
    """
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: no such folder; give the folder of all runs")
    from stroke_nets.papers.table_files import write_table
    from stroke_nets.papers.tables import build_table, published

    lines, written = [], []
    for name, content in published(names or ()).items():
        table = build_table(name, content, runs, policy)
        done = sum(bool(row.folds) for row in table.rows)
        page, *_ = write_table(table, out, content["folds"], note)
        lines.append(f"wrote {page}, .tex and .csv: {done} of {len(table.rows)} rows run")
        written.append({"table": page, "rows": len(table.rows), "rows_run": done})
    if costs:
        from stroke_nets.papers.method_costs import write_costs

        page, *_ = write_costs(out)
        lines.append(f"wrote {page} and .csv")
        written.append({"table": page})
    tell("\n".join(lines), written, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Figures. Default: all.")
    ] = None,
    runs: Runs = Path("runs"),
    data: Annotated[
        Path | None,
        typer.Option("--data", "--dataset-dir", help="Data root, for figures that show scans."),
    ] = None,
    out: Annotated[Path, _out("figures")] = Path("figures"),
    case: Annotated[
        list[str] | None, typer.Option(help="Subject to show; repeat it for several.")
    ] = None,
    note: Annotated[str, typer.Option(help="Text to print above each figure.")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw the papers' figures as PNG and SVG; figures whose runs are missing are listed.

    Example: stroke-nets figures agmr_figure07 --data DATA --out figures
    """
    from stroke_nets.papers.figure_style import Source
    from stroke_nets.papers.figures import published_figures, write_figure

    source = Source(runs, data, case or (), note)
    lines: list[str] = []
    written: list[dict[str, Any]] = []
    for name, content in published_figures(names or ()).items():
        try:
            page = write_figure(name, content, source, out)[0]
            lines.append(f"wrote {page} and .svg")
            written.append({"figure": page})
        except UsageError as error:
            lines.append(f"not drawn: {name}: {error}")
            written.append({"figure": None, "name": name, "reason": str(error)})
    tell("\n".join(lines), written, as_json, quiet)
    if not any(one["figure"] for one in written):
        raise UsageError(f"--runs {runs}: no figure could be drawn; see the reasons above")


@app.command(rich_help_panel=PANEL)
def reproduce(
    table: Annotated[str, typer.Argument(help="A table, such as agmr_table06, or all.")],
    scale: Annotated[
        Scale,
        typer.Option(
            help="demo: tiny, shows that all runs; bench: narrow networks on simulated patients, "
            "in hours; full: as in the papers."
        ),
    ] = "demo",
    out: Annotated[Path, _out("tables and figures")] = Path("tables"),
    executor: Annotated[
        Literal["local", "slurm"],
        typer.Option(help="Where jobs run; slurm has only been tried as a dry run."),
    ] = "local",
    parallel: Annotated[
        int, typer.Option("--parallel", "-j", help="Number of jobs at the same time.", min=1)
    ] = 2,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after an interruption.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every command and run nothing.")
    ] = False,
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of all bundles. Default: this installation's.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of all runs. Default: the scale's own.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Where a data set is: atlas_r12, isles2015 or atlas_v20; repeat it.",
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Resource of each Slurm job, such as gpu=1."),
    ] = None,
    snakemake: Annotated[
        Path | None, typer.Option(help="Snakemake's program, if it is elsewhere.")
    ] = None,
    self_training: Annotated[
        Literal["paper", "code", "leak-free"] | None,
        typer.Option(
            help="Which networks make the pseudo labels; --dry-run explains it. Default: paper; "
            "at bench scale leak-free."
        ),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            help="bench: label maps and masks that examples/train_weights.py prepared, for the "
            "patients. Default: the template and drawn lesions."
        ),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train, predict and evaluate all that a table needs, then write it with its figures.

    Finished jobs are skipped. After a job that fails the others still run, and the exit code is 3.
    Needs 'make reproduce-env' once, in a clone.

    Example: stroke-nets reproduce agmr_table06 --scale demo --out tables
    """
    from stroke_nets.bundle_folders import bundles_root
    from stroke_nets.papers import reproduce as grid
    from stroke_nets.papers.snakemake import How

    own = bundles or bundles_root()
    shown = own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own
    where = grid.places(scale, shown, runs, dataset or (), trust, self_training, sources)
    needed = ("mem_mb=8000",) if scale == "bench" else ("gpu=1",)
    how = How(executor, parallel, resume, slurm or needed, snakemake)
    with hushed(as_json or quiet):
        done = grid.reproduce(grid.Request(grid.table_names(table), where, how, out), dry_run)
    tell("", done, as_json)
