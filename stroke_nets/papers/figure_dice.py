"""Figures of Dice per patient: box plots by method, and Dice against lesion volume."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from stroke_nets.papers.figure_style import BLUE, ORANGE, VERMILION, Source, caption, not_run
from stroke_nets.runs.results import EvaluatedRun

Array = NDArray[np.float64]
BANDWIDTH = 0.4  # decades of volume, of the fitted curve
SMALL_ML = 1.0  # 1000 voxels of 1 mm
MARKS: Any = ((ORANGE, "v", "--"), (BLUE, "o", "-"))  # without, with the module


def box_plot(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 9 of AGMR-Net: Dice of each patient, one box for each method."""
    runs, missing = source.found(content)
    dice = [np.array([case["dice"] for case in run.cases]) for run in runs.values()]
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(runs)), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(
        dice,
        orientation="horizontal",
        widths=0.6,
        showfliers=False,  # every patient is drawn
        showmeans=True,
        medianprops={"color": "black", "linewidth": 1.5},
        meanprops={"marker": "D", "markerfacecolor": VERMILION, "markeredgecolor": "black"}
        | {"markersize": 5, "zorder": 4},
        patch_artist=True,
        boxprops={"facecolor": "#d9e6f2"},
    )
    rng = np.random.default_rng(0)  # of the jitter
    for place, values in enumerate(dice, start=1):
        height = place + rng.uniform(-0.2, 0.2, len(values))
        axes.plot(values, height, "o", markersize=2.5, color=BLUE, alpha=0.6, zorder=3)
    labels = [f"{label} (n = {len(d)})" for label, d in zip(runs, dice, strict=True)]
    axes.set_yticks(range(1, len(runs) + 1), labels)
    axes.invert_yaxis()
    axes.set(xlim=(-0.02, 1.02), xlabel="Dice of a patient (line: median, diamond: mean)")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    caption(figure, content, source, missing)
    return figure


def dice_by_volume(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 3 of MSCSA: Dice against lesion volume, a panel and two fitted curves per scheme."""
    runs, missing = source.found(content)
    schemes = list(dict.fromkeys(row["scheme"] for row in content["rows"]))
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    grid = figure.subplots(2, -(-len(schemes) // 2), sharex=True, sharey=True)
    for axes, scheme in zip(grid.flat, schemes, strict=False):
        shown = [r for r in content["rows"] if r["scheme"] == scheme and r["label"] in runs]
        for row in shown:
            _curve(axes, runs[row["label"]], *MARKS[row["with_module"]])
        if not shown:
            not_run(axes)
        axes.axvline(SMALL_ML, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(scheme)
        axes.grid(color="0.93")
    grid.flat[0].set(xscale="log", ylim=(-0.03, 1.03))
    grid.flat[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axes in grid.flat[len(schemes) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=4, label=label)
        for (colour, marker, line), label in zip(MARKS, content["legend"], strict=True)
    ]
    spare = grid.flat[-1]
    spare.legend(handles=handles, loc="center", frameon=False, title="Scheme")
    for axes in grid[:, 0]:
        axes.set_ylabel("Dice")
    for axes in grid.flat[len(schemes) - grid.shape[1] : len(schemes)]:
        axes.set_xlabel("Lesion volume (ml)")
        axes.tick_params(labelbottom=True)
    caption(figure, content, source, missing)
    return figure


def _curve(axes: Axes, run: EvaluatedRun, colour: str, marker: str, line: str) -> None:
    """The cases of a run that have a lesion, and the curve through them."""
    cases = [case for case in run.cases if case["truth_ml"] > 0]
    ml, dice = (np.array([case[key] for case in cases]) for key in ("truth_ml", "dice"))
    axes.plot(ml, dice, marker, markersize=3, color=colour, alpha=0.45, markeredgewidth=0)
    if len(cases) > 2:
        at = np.linspace(np.log10(ml.min()), np.log10(ml.max()), 100)
        axes.plot(10**at, local_line(np.log10(ml), dice, at), line, color=colour, linewidth=1.6)


def local_line(x: Array, y: Array, at: Array, bandwidth: float = BANDWIDTH) -> Array:
    """Local linear regression: at each point a line, weighted by a Gaussian of the distance.

    Args:
        x: of the cases, (cases,).
        y: of the cases, (cases,).
        at: where to evaluate, (points,).
        bandwidth: standard deviation of the Gaussian.

    Returns:
        (points,), within [0, 1], where Dice lies.
    """
    away = x - at[:, None]
    # Square roots, since a least-squares fit squares them; never so small that a line is lost.
    root = np.exp(-((away / bandwidth) ** 2) / 4) + 1e-6
    columns = np.stack([np.ones_like(away), away], axis=-1) * root[..., None]
    fits = np.linalg.pinv(columns) @ (root * y)[..., None]
    return np.clip(fits[:, 0, 0], 0, 1)
