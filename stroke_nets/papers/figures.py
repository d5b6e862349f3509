"""The papers' figures from run folders; ``published/figures.json`` maps panels to runs."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib

from stroke_nets.errors import UsageError
from stroke_nets.files import whole
from stroke_nets.papers.figure_dice import box_plot, dice_by_volume
from stroke_nets.papers.figure_masks import boundaries, difference_maps, scheme_boundaries
from stroke_nets.papers.figure_stages import attention_stages, channel_weights
from stroke_nets.papers.figure_style import STYLE, Source

KINDS = {
    "difference_maps": difference_maps,
    "boundaries": boundaries,
    "box_plot": box_plot,
    "attention_stages": attention_stages,
    "channel_weights": channel_weights,
    "scheme_boundaries": scheme_boundaries,
    "dice_by_volume": dice_by_volume,
}


def published_figures(names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The papers' figures by name; all of them, or those named.

    Raises:
        UsageError: there is no such figure.
    """
    path = resources.files("stroke_nets.papers") / "published" / "figures.json"
    known: dict[str, dict[str, Any]] = json.loads(path.read_text())
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"figure {unknown[0]!r}: choose among {', '.join(known)}")
    return {name: known[name] for name in names or known}


def write_figure(name: str, content: Mapping[str, Any], source: Source, out: Path) -> list[Path]:
    """Draw a figure as `<name>.png` and `<name>.svg`.

    Args:
        name: of the figure.
        content: its published description.
        source: where runs and data are.
        out: folder to write into, made if need be.

    Returns:
        The two files.

    Raises:
        UsageError: no run to draw, or the data root is needed and not given.
        DataError: a file is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    style: Any = STYLE | {"svg.hashsalt": name}  # the same file each time
    with matplotlib.rc_context(style):
        figure = KINDS[content["kind"]](content, source)
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            files.append(out / f"{name}.{ending}")
            with whole(files[-1]) as partial:
                figure.savefig(partial, metadata=metadata, bbox_inches="tight", pad_inches=0.05)
    return files
