"""The call of a BIDS App: https://doi.org/10.1371/journal.pcbi.1005209."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from stroke_nets.commands.app import Json, Overwrite, Quiet, app, tell
from stroke_nets.commands.predict import PANEL, segment_and_tell
from stroke_nets.errors import UsageError

Level = Literal["participant", "group"]
LISTS = ("--participant-label", "--session-label")


class BidsApp(TyperCommand):
    """A command whose label options take several values, as BIDS Apps do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat a label option before each of its values."""
        spread: list[str] = []
        option = None
        for given in args:
            if given.startswith("-"):
                option = given if given in LISTS else None
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(given)
        return super().parse_args(ctx, spread)


@app.command(cls=BidsApp, rich_help_panel=PANEL)
def bids(
    bids_dir: Annotated[Path, typer.Argument(help="Raw BIDS data set.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder of the derivatives.")],
    level: Annotated[
        Level,
        typer.Argument(
            help="participant: segment the T1w scans. group: one table of all, and the cohort page."
        ),
    ],
    participant_label: Annotated[
        list[str] | None, typer.Option(help="Participants, with or without sub-. Default: all.")
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(help="Sessions, with or without ses-. Default: all.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="As of 'predict'.")] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Folder for temporary files. Default: the system's.")
    ] = None,
    nprocs: Annotated[
        int | None,
        typer.Option("--nprocs", "--n-procs", min=1, help="Threads. Default: one per core."),
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="group: image of regions in MNI space.")
    ] = None,
    atlas_labels: Annotated[
        Path | None, typer.Option(help="group: table of its regions, with index and name.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment a BIDS data set, or summarise its derivatives, by the call of a BIDS App.

    Results that are already there are kept.

    Example: stroke-nets bids BIDS derivatives/stroke-nets participant --participant-label 01 02

    Example: stroke-nets bids BIDS derivatives/stroke-nets group
    """
    if not (bids_dir / "dataset_description.json").is_file():
        raise UsageError(
            f"{bids_dir}: no dataset_description.json, so no BIDS data set; give its root, or use "
            "'stroke-nets predict' for other folders"
        )
    if (atlas is None) != (atlas_labels is None):
        raise UsageError("--atlas and --atlas-labels go together; give both")
    if level == "group":
        from stroke_nets.pages.group import write_group

        regions = (atlas, atlas_labels) if atlas and atlas_labels else None
        written = [*write_group(output_dir, regions), output_dir / "index.html"]
        told = "\n".join(f"wrote {path}" for path in written)
        tell(told, {"written": written}, as_json, quiet)
        return
    if work_dir:
        work_dir.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(work_dir)
    segment_and_tell(
        bids_dir,
        output_dir,
        as_json=as_json,
        quiet=quiet,
        threads=nprocs,
        method=method,
        overwrite=overwrite,
        participants=participant_label or (),
        sessions=session_label or (),
    )
