"""The ``stroke-nets`` command."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from stroke_nets import __version__
from stroke_nets.errors import StrokeNetsError, UsageError

app = typer.Typer(
    help="Stroke-lesion segmentation in MRI. Exit codes: 0 done, 2 usage, 3 problems in the data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors that a user can mend are one line, not a traceback."""
    try:
        app()
    except StrokeNetsError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Stroke-lesion segmentation in MRI. Exit codes: 0 done, 2 usage, 3 problems in the data."""


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write, as BIDS.")],
    subjects: Annotated[int, typer.Option(help="Number of patients.")] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same patients.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    folds: Annotated[int, typer.Option(help="Size-balanced folds in the manifest.")] = 5,
) -> None:
    """Write simulated stroke patients with masks and a manifest; no download.

    Example: stroke-nets simulate data/simulated --subjects 20 --seed 0
    """
    from stroke_nets.data.simulate import simulate as write_patients

    print(f"wrote {write_patients(out, subjects, seed, workers, folds)}")


@app.command()
def manifest(
    root: Annotated[Path, typer.Argument(help="Data root; paths are relative to it.")],
    image: Annotated[str, typer.Option(help="Glob of the scans.")],
    label: Annotated[str, typer.Option(help="Ending of a mask, in place of its scan's.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write.")],
    folds: Annotated[int, typer.Option(help="Size-balanced, grouped by subject; 0: none.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
) -> None:
    """Write the manifest of scans and masks that lie in a folder.

    Example: stroke-nets manifest DATA --image '**/*_T1w.nii.gz' --label '_mask.nii.gz' -o m.json
    """
    from stroke_nets.data.manifest import from_folder

    count = from_folder(root, image=image, label=label, out=out, folds=folds or None, seed=seed)
    print(f"wrote {out}: {count} cases")


@app.command()
def prepare(
    dataset: Annotated[
        str, typer.Argument(help="atlas_r12, atlas_v20, isles2015, isles2022 or arc.")
    ],
    source: Annotated[Path, typer.Argument(help="The folder that was unpacked; only read.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: links, masks, the manifest.")],
    workers: Annotated[int, typer.Option(help="Cases at once.", min=1)] = 2,
) -> None:
    """Bring a downloaded data set into the form that training reads; a stopped run goes on.

    Example: stroke-nets prepare atlas_v20 ATLAS_2 data/atlas_v20
    """
    from stroke_nets.data.prepare import prepare as bring

    print(
        *bring(dataset, source, out, workers).summary(), f"wrote {out / 'manifest.json'}", sep="\n"
    )


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A scan, a folder, a BIDS tree or a manifest.")],
    root: Annotated[Path | None, typer.Option(help="A manifest's data root.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    bids: Annotated[bool, typer.Option("--bids", help="PATH must be a BIDS tree.")] = False,
    lesion_free: Annotated[bool, typer.Option(help="Empty masks are meant.")] = False,
    orientation: Annotated[str | None, typer.Option(help="Of files that give none: RAS.")] = None,
    workers: Annotated[int, typer.Option(help="Files read at once.", min=1)] = 2,
) -> None:
    """List everything that makes scans, masks or a manifest unfit for use.

    Rows: F files, G geometry, L intensities and labels, D data sets.

    Example: stroke-nets check DATA
    """
    from stroke_nets.data.check import Rules, as_table
    from stroke_nets.data.check import check as find

    rules = Rules(empty_masks=lesion_free, orientation=orientation)
    findings = find(path, root=root, bids=bids, rules=rules, workers=workers)
    problems = [f for f in findings if not f.notice]
    if as_json:
        print(json.dumps([f.as_json() for f in findings], indent=1))
    else:
        print(*([as_table(findings)] if findings else []), f"{len(problems)} problems", sep="\n")
    raise typer.Exit(3 if problems else 0)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder, after evaluation.")],
    dataset_dir: Annotated[Path, typer.Option(help="Data root that was evaluated.")],
) -> None:
    """Write report.html into a run folder and print the held-out Dice.

    Example: stroke-nets report runs/agmr_net/demo/fold0 --dataset-dir data/simulated
    """
    if not dataset_dir.is_dir():
        raise UsageError(f"--dataset-dir {dataset_dir}: no such folder; give the data root")
    from stroke_nets.reporting.report import write_report

    page = write_report(run, dataset_dir)
    summary = json.loads((run / "summary.json").read_text())
    large = summary["dice_above_1ml"]
    print(f"wrote {page}")
    if large["mean"] is not None:
        print(f"mean held-out Dice on {large['n']} lesions above 1 ml: {large['mean']:.3f}")
