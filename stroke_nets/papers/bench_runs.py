"""How the benchmark's trainings went: ``runs.md``, ``runs.csv`` and the curves, ``curves.png``."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stroke_nets.files import whole, write_whole
from stroke_nets.pages.run_training import scalars
from stroke_nets.papers.settings import scale
from stroke_nets.runs.results import evaluated_folds
from stroke_nets.text_table import markdown_table

Curve = list[tuple[int, float]]  # epoch and validation Dice
CURVE = "curve.csv"  # of a run folder
RECENT = 3  # validations whose mean is compared with that of as many before
FLAT = 0.01  # less than this between the two is a plateau
COLUMNS = 6  # of the picture
HEAD = ("Run", "Seed", "Dice", "Dice above 1 ml", "Validation Dice", "Epochs", "Best", "Plateau")


def plateau(curve: Curve, stopped: bool) -> bool:
    """Whether a training has reached a plateau: it stopped early, or hardly rose at its end.

    Args:
        curve: validation Dice.
        stopped: whether it ended for want of improvement.
    """
    dice = [value for _, value in curve]
    if stopped or len(dice) < 2 * RECENT:
        return stopped
    return float(np.mean(dice[-RECENT:]) - np.mean(dice[-2 * RECENT : -RECENT])) < FLAT


def write_curve(folder: Path) -> None:
    """Write the validation Dice of a training's epochs as ``curve.csv``, beside its events.

    Args:
        folder: of the run.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    log = scalars(folder / "events")["val_dice"]
    curve = {event.step: round(event.value, 4) for event in log}  # the last one of an epoch
    table = pd.DataFrame(sorted(curve.items()), columns=["epoch", "val_dice"])
    write_whole(folder / CURVE, str(table.to_csv(index=False)))


def run_lines(runs: Path, names: Sequence[str], scale_name: str = "bench") -> list[dict[str, Any]]:
    """One line for each evaluated seed of each run, with its curve.

    Args:
        runs: the folder of all runs.
        names: ``<bundle>/<overlay>`` each.
        scale_name: whose longest training and patience hold.
    """
    return [
        _line(name, seed, folder, scale_name)
        for name in names
        for seed, folder in evaluated_folds(runs, name).items()
    ]


def _line(name: str, seed: int, folder: Path, scale_name: str) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    line = {"run": name, "seed": seed, "dice": summary["metrics"]["dice"]["mean"]}
    line |= {"dice_above_1ml": summary["dice_above_1ml"]["mean"]}
    if not (folder / CURVE).is_file():
        return line | {"curve": []}  # an ensemble has no training
    curve = list(pd.read_csv(folder / CURVE).itertuples(index=False, name=None))
    best, last = max(curve, key=lambda point: point[1])[0], curve[-1][0]
    patience = scale(scale_name)["options"]["patience"] * curve[0][0]
    stopped = last - best >= patience
    line |= {"epochs": last, "best_epoch": best, "plateau": plateau(curve, stopped)}
    return line | {"validation_dice": max(v for _, v in curve), "curve": curve}


def write_runs(lines: Sequence[dict[str, Any]], out: Path, note: str = "") -> list[Path]:
    """Write ``runs.md``, ``runs.csv`` and ``curves.png``.

    Args:
        lines: as `run_lines` returns them.
        out: the folder, made if need be.
        note: a line above the table.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    columns = ("run", "seed", "dice", "dice_above_1ml", "validation_dice", "epochs", "best_epoch")
    table = pd.DataFrame(lines, columns=[*columns, "plateau"], dtype=object)
    write_whole(out / "runs.csv", str(table.to_csv(index=False)))
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    text = [
        "# Trainings",
        *([f"**{note}**"] if note else []),
        markdown_table(HEAD, rows, "lrrrrrrl"),
    ]
    write_whole(out / "runs.md", "\n\n".join(text) + "\n")
    _draw(lines, out / "curves.png")
    return [out / "runs.md", out / "runs.csv", out / "curves.png"]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Validation Dice by epoch, one panel for each run, one curve for each seed."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(line["run"] for line in lines if line["curve"]))
    height = math.ceil(max(1, len(names)) / COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 1.7 * height), layout="constrained")
    panels = figure.subplots(height, COLUMNS, squeeze=False, sharex=False, sharey=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        panel.set_title(name, fontsize=6)
        for line in lines:
            if line["run"] == name:
                panel.plot(*zip(*line["curve"], strict=True), marker=".", label=line["seed"])
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.supxlabel("epoch", fontsize=7)
    figure.supylabel("validation Dice", fontsize=7)
    with whole(path) as partial:
        figure.savefig(partial, dpi=100, format="png")
