"""Figures of what a network's stages do, from the `stage_maps.npz` of its run folder."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stroke_nets.errors import DataError, UsageError
from stroke_nets.pages.case_figure import Array
from stroke_nets.papers.figure_style import ORANGE, Source, caption

FILE = "stage_maps.npz"


def attention_stages(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 10 of AGMR-Net: input, attention and output of CPA at each stage, and the prior."""
    maps = _maps(source.runs, content["run"])
    stages = sum(name.startswith("attention") for name in maps)
    if not stages:
        raise UsageError(f"{source.runs / content['run']}: {FILE} holds no attention map")
    figure = Figure(figsize=(1.25 * (stages + 1) + 0.8, 4.6), layout="constrained")
    axes = figure.subplots(3, stages + 1)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    _picture(axes[0, 0], maps["image"], cmap="gray")
    axes[0, 0].contour(_turned(maps["label"]), [0.5], colors=[ORANGE], linewidths=0.8)
    axes[0, 0].set_title("slice and lesion")
    _picture(axes[1, 0], maps["prior"], cmap="cividis", vmin=0, vmax=1)
    axes[1, 0].set_title("prior map")
    for stage in range(1, stages + 1):
        column = axes[:, stage]
        _picture(column[0], maps[f"input{stage}"], cmap="gray")
        shown = _picture(column[1], maps[f"attention{stage}"], cmap="cividis", vmin=0, vmax=1)
        _picture(column[2], maps[f"output{stage}"], cmap="gray")
        column[0].set_title(f"stage {stage}, {maps[f'input{stage}'].shape[0]}²")
    for place, label in zip(axes[:, 1], ("input", "attention", "output"), strict=True):
        place.set_ylabel(label)
    figure.colorbar(shown, ax=axes, shrink=0.35, pad=0.02, aspect=15, label="attention, prior")
    caption(figure, content, source)
    return figure


def channel_weights(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 11 of AGMR-Net: the 2D branch's channel weights as strips of colour, with a colour bar.

    One column of strips for each fusion, one strip for each network; all share one colour scale.
    """
    found = {row["label"]: _maps(source.runs, row["run"]) for row in content["rows"]}
    fusions = sorted(
        name for name in set.intersection(*map(set, found.values())) if "plane_weight" in name
    )
    if not fusions:
        raise UsageError(f"{source.runs}: {FILE} of the figure's runs hold no channel weights")
    figure = Figure(figsize=(7, 1.0 * len(found) + 1.2), layout="constrained")
    grid = figure.subplots(len(found), len(fusions), squeeze=False)
    for column, name, stage in zip(grid.T, fusions, content["stages"], strict=True):
        for axes, (label, maps) in zip(column, found.items(), strict=True):
            weights = maps[name]
            shown = axes.imshow(weights[None], aspect="auto", cmap="cividis", vmin=0, vmax=1)
            axes.set(yticks=[], title=f"{label}: variance {np.var(weights, ddof=1):.2e}")
            axes.set_xlabel(f"channel of the 2D branch, stage {stage}")
            axes.label_outer()
    figure.colorbar(shown, ax=grid, pad=0.02, aspect=12, label="weight")
    caption(figure, content, source)
    return figure


def _maps(runs: Path, name: str) -> dict[str, Array]:
    """The maps of the first fold of a run that has them.

    Raises:
        UsageError: no fold has them.
        DataError: the file is damaged.
    """
    files = sorted((runs / name).glob(f"fold*/{FILE}"))
    if not files:
        raise UsageError(f"{runs / name}: no fold has a {FILE}; save one with save_stage_maps")
    try:
        with files[0].open("rb") as stream, np.load(stream) as content:
            return dict(content)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{files[0]}: damaged ({error}); save the maps again") from error


def _turned(map_: Array) -> Array:
    """A map (X, Y) as a picture in radiological convention, anterior up."""
    return map_[::-1].swapaxes(0, 1)


def _picture(place: Any, map_: Array, **options: Any) -> Any:
    return place.imshow(_turned(map_), origin="lower", interpolation="nearest", **options)
