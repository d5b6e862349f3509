"""The jobs that ``stroke-nets reproduce`` starts, each a process; the help does not show them."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from stroke_nets.commands.app import Runs, Scale, app


@app.command("run-method", hidden=True)
def run_method(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    overlay: Annotated[str, typer.Option(help="Names the run folder, and the ablation.")],
    fold: Annotated[int, typer.Option(help="The held-out fold of the manifest.")],
    data: Annotated[Path, typer.Option(help="Folder with the manifest.")],
    runs: Runs = Path("runs"),
    scale: Annotated[Scale, typer.Option(help="As of 'reproduce'.")] = "full",
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest to train on. Default: the bundle's.")
    ] = None,
    stage_maps: Annotated[
        bool, typer.Option("--stage-maps", help="Save stage maps for the figures.")
    ] = False,
) -> None:
    """Train, predict and evaluate one run in one process: a job of 'reproduce'.

    Example: stroke-nets run-method bundles/unet --overlay default --fold 0 --data DATA
    """
    from stroke_nets.papers.run_method import run_method as run

    folder = run(
        bundle,
        overlay=overlay,
        fold=fold,
        dataset_dir=data,
        runs=runs,
        scale_name=scale,
        stage_maps=stage_maps,
        manifest=manifest,
    )
    dice = json.loads((folder / "summary.json").read_text())["metrics"]["dice"]["mean"]
    print(f"{folder}: mean Dice {dice}; {time.process_time():.0f} s of CPU")


@app.command("demo-data", hidden=True)
def demo_data(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Random seed.")],
    patients: Annotated[int, typer.Option(help="Number of patients with a mask.")],
    unlabelled: Annotated[int, typer.Option(help="Number of patients without one.")],
    step: Annotated[int, typer.Option(help="Keep every STEP-th voxel along each axis.")],
    folds: Annotated[int, typer.Option(help="Number of folds.")],
) -> None:
    """Write the simulated data of 'reproduce --scale demo': a job of it.

    Example: stroke-nets demo-data D --seed 0 --patients 8 --unlabelled 2 --step 4 --folds 2
    """
    from stroke_nets.papers.demo_data import write

    path = write(out, seed=seed, patients=patients, unlabelled=unlabelled, step=step, folds=folds)
    print(f"wrote {path}")


@app.command("bench-data", hidden=True)
def bench_data(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    train: Annotated[int, typer.Option(help="Number of training patients.", min=0)] = 120,
    validation: Annotated[int, typer.Option(help="Of validation patients.", min=0)] = 20,
    test: Annotated[int, typer.Option(help="Of test patients.", min=0)] = 60,
    unlabelled: Annotated[int, typer.Option(help="Of patients without a mask.", min=0)] = 0,
    sources: Annotated[
        Path | None,
        typer.Option(help="Prepared anatomies and masks. Default: the template, drawn lesions."),
    ] = None,
) -> None:
    """Write the simulated patients of 'reproduce --scale bench': a job of it.

    Example: stroke-nets bench-data data/bench/simulated --seed 0 --unlabelled 40
    """
    from stroke_nets.papers.bench_data import write

    asked = {"train": train, "validation": validation, "test": test, "unlabelled": unlabelled}
    parts = {part: count for part, count in asked.items() if count}
    print(f"wrote {write(out, seed=seed, parts=parts, sources=sources)}")


@app.command("choose-approach", hidden=True)
def choose_approach(
    best: Annotated[Path, typer.Argument(help="JSON file to write.")],
    schemes: Annotated[list[str], typer.Argument(help="BUNDLE/OVERLAY of each approach.")],
    runs: Runs = Path("runs"),
) -> None:
    """Choose the approach with the highest mean Dice to label the unlabelled scans.

    Example: stroke-nets choose-approach best.json mscsa_default/default mscsa_dtk10/default
    """
    from stroke_nets.papers.self_training import choose

    print(f"{best}: {choose(schemes, runs, best)} labels")


@app.command("label-by-best", hidden=True)
def label_by_best(
    best: Annotated[Path, typer.Argument(help="What 'choose-approach' wrote.")],
    data: Annotated[Path, typer.Option(help="Folder with the manifest.")],
    runs: Runs = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Label the unlabelled scans by the chosen approach's networks of all folds.

    Example: stroke-nets label-by-best best.json --data DATA
    """
    from stroke_nets.papers.self_training import label

    print(f"wrote {label(best, runs, data, device)}")
