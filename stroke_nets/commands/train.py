"""Commands that train methods and evaluate what they predict."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stroke_nets.commands.app import (
    Json,
    OldOut,
    Out,
    Overwrite,
    Panel,
    Policy,
    Quiet,
    Segment,
    Trust,
    app,
    chosen_out,
    hushed,
    tell,
)
from stroke_nets.errors import UsageError
from stroke_nets.runs.bundle_run import Step, bundle_command, read_settings, run_bundle

PANEL: Panel = "Train"
Method = Annotated[
    str, typer.Argument(metavar="METHOD", help="Name of a method, such as agmr_net.")
]
Data = Annotated[
    Path, typer.Option("--data", help="Folder with the scans, masks and manifest.json.")
]
Overlay = Annotated[
    list[str] | None,
    typer.Option(
        "--overlay",
        help="Overlay of the method, such as an ablation; repeat it to lay one over another.",
    ),
]
Fold = Annotated[int | None, typer.Option(help="The held-out fold of the manifest. Default: 0.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change any key of the configuration, such as max_epochs=10; repeat it.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the equivalent 'python -m monai.bundle run' command."),
]


@app.command(rich_help_panel=PANEL)
def train(
    method: Method,
    data: Data,
    overlay: Overlay = None,
    fold: Fold = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training, or start it.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again, replacing what is there.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a method; checkpoints go to runs/METHOD/OVERLAY/foldK.

    This is the short form of 'python -m monai.bundle run training'; see --dry-run.

    Example: stroke-nets train agmr_net --data DATA --fold 0

    Example: stroke-nets train agmr_net --data DATA --overlay table05_cpa --set max_epochs=10
    """
    flags = {"resume": resume, "overwrite": overwrite}
    options = _options(data, fold, settings, {k: v for k, v in flags.items() if v})
    folder = _run("train", method, overlay or (), options, dry_run, as_json, quiet)
    if folder and as_json:
        tell("", {"run": folder, "checkpoint": folder / "checkpoints" / "last.pt"}, as_json)


@app.command(rich_help_panel=PANEL)
def infer(
    method: Method,
    data: Data,
    overlay: Overlay = None,
    fold: Fold = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to use instead of the last one in the run folder."),
    ] = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the held-out scans with the run's own weights; masks go to the run folder.

    This is the short form of 'python -m monai.bundle run inference'; see --dry-run. To segment
    other scans with published weights, use 'predict'.

    Example: stroke-nets infer agmr_net --data DATA --fold 0
    """
    flags = {"checkpoint": checkpoint, "overwrite": overwrite}
    options = _options(data, fold, settings, {k: v for k, v in flags.items() if v})
    folder = _run("infer", method, overlay or (), options, dry_run, as_json, quiet)
    if folder and as_json:
        tell("", {"run": folder, "predictions": folder / "predictions"}, as_json)


@app.command(rich_help_panel=PANEL)
def evaluate(
    masks: Annotated[
        str,
        typer.Argument(
            metavar="MASKS|METHOD", help="Folder of masks; with --data, a method whose run it is."
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Argument(metavar="TRUTH", help="Folder of true masks, or a manifest."),
    ] = None,
    out: Out = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Evaluate the run of METHOD on this data.")
    ] = None,
    overlay: Overlay = None,
    settings: Settings = None,
    part: Annotated[
        Literal["heldout", "train", "all"] | None,
        typer.Option(help="Part of the manifest. Default: heldout for a run, all for masks."),
    ] = None,
    fold: Annotated[int, typer.Option(help="The held-out fold of the manifest.")] = 0,
    desc: Annotated[
        str | None,
        typer.Option(help="Which masks of a BIDS derivative, if it has several: the part desc-."),
    ] = None,
    segment: Segment = None,
    policy: Policy = "paper",
    connectivity: Annotated[
        int, typer.Option(help="Neighbours that join voxels to one lesion: 6, 18 or 26.")
    ] = 6,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = 2,
    dry_run: DryRun = False,
    old_out: OldOut = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare masks with the truth and write cases.csv and summary.json.

    Either any folder of masks (MASKS TRUTH OUT), or the predictions of a run (METHOD --data DATA,
    the short form of 'python -m monai.bundle run evaluating'), whose results go to the run folder.
    A prediction has the name of its true mask, or its scan's name with _pred before the ending; in
    a BIDS derivative, such as 'predict' writes, its subject, session and space. If one is missing,
    misplaced, damaged, no mask or on another grid, it is listed and nothing is written (exit code
    3).

    Example: stroke-nets evaluate predictions DATA/manifest.json evaluation

    Example: stroke-nets evaluate masks DATA/manifest.json evaluation

    Example: stroke-nets evaluate agmr_net --data DATA --fold 0
    """
    how: dict[str, Any] = {"policy": policy, "connectivity": connectivity, "workers": workers}
    if data is not None:
        if truth or out or old_out or desc or segment:
            raise UsageError("evaluate: give either MASKS TRUTH OUT, or METHOD --data DATA")
        options = _options(data, fold, settings, ({"part": part} if part else {}) | how)
        folder = _run("evaluate", masks, overlay or (), options, dry_run, as_json, quiet)
    else:
        if truth is None or overlay or settings or dry_run:
            raise UsageError("evaluate: give either MASKS TRUTH OUT, or METHOD --data DATA")
        from stroke_nets.evaluation.evaluate import evaluate_folder

        folder = chosen_out(out, old_out)
        with hushed(as_json or quiet):
            how["segment"] = segment
            evaluate_folder(
                Path(masks), truth, folder, part=part or "all", fold=fold, desc=desc, **how
            )
    if folder and as_json:
        print((folder / "summary.json").read_text(), end="")


def _options(
    data: Path, fold: int | None, settings: Sequence[str] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a bundle's run; those of --set come last and win."""
    where = {"dataset_dir": str(data)} | ({} if fold is None else {"fold": fold})
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in more.items()}
    return where | texts | read_settings(settings or ())


def _run(
    step: Step,
    method: str,
    overlays: Sequence[str],
    options: Mapping[str, Any],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> Path | None:
    """Run a step of a method and return the run folder, or only print the long command."""
    from stroke_nets.bundle_folders import find_bundle

    bundle, here = find_bundle(method), Path.cwd()
    bundle = bundle.relative_to(here) if bundle.is_relative_to(here) else bundle
    if dry_run:
        command = bundle_command(bundle, step, overlays, options)
        tell(shlex.join(command), {"command": command}, as_json)
        return None
    with hushed(as_json or quiet):
        return run_bundle(bundle, step, overlays, options)


@app.command("pseudo-label", rich_help_panel=PANEL)
def pseudo_label(
    dataset_dir: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with the manifest.")],
    run: Annotated[
        list[Path], typer.Option(help="Run folder of a trained network; repeat it for several.")
    ],
    image: Annotated[
        str | None,
        typer.Option(
            help="Glob pattern of the scans without masks. Default: those of the manifest."
        ),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Fold whose training will use the pseudo labels.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="One set for all folds, as published; the runs may have seen held-out scans.",
        ),
    ] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest of the labelled scans, if it is elsewhere.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label scans without masks by trained networks, for self-training.

    Example: stroke-nets pseudo-label DATA --fold 0 --run runs/mscsa_default/default/fold0
    """
    if published == (fold is not None):
        raise UsageError("pseudo-label: give either --fold K or --published")
    if not dataset_dir.is_dir():
        raise UsageError(f"{dataset_dir}: no such folder; give the data root")
    from stroke_nets.inference import pseudo_label as labelling

    path = labelling.pseudo_label(
        dataset_dir, run, fold=fold, image=image, source=manifest, device=device, trust=trust
    )
    tell(f"wrote {path}", {"manifest": path}, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder of a training or an evaluation, or a folder of predictions."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "--dataset-dir",
            help="Data root of the evaluated scans. Default: as the run's configuration says.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html into a run folder and print the held-out Dice.

    During a training, the report shows how far it is. In the output folder of 'predict', the cohort
    page and cohort.csv are written again with the ratings.tsv that was downloaded from the page.

    Example: stroke-nets report runs/agmr_net/demo/fold0

    Example: stroke-nets report predictions
    """
    if (run / "dataset_description.json").is_file():
        from stroke_nets.pages.cohort import write_index

        page = write_index(run)
        tell(f"wrote {page}", {"report": page, "cohort": run / "cohort.csv"}, as_json, quiet)
        return
    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder; give the data root")
    from stroke_nets.pages.run_report import write_report

    lines, content = [f"wrote {write_report(run, data)}"], {"report": run / "report.html"}
    if (run / "summary.json").is_file():
        large = json.loads((run / "summary.json").read_text())["dice_above_1ml"]
        content["dice_above_1ml"] = large
        if large["mean"] is not None:
            what = f"{large['n']} lesions above 1 ml"
            lines.append(f"mean held-out Dice on {what}: {large['mean']:.3f}")
    tell("\n".join(lines), content, as_json, quiet)
