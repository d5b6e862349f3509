"""What the figures share: where they read, how they look."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stroke_nets.errors import UsageError
from stroke_nets.runs.results import EvaluatedRun, read_run

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
}
# Okabe and Ito's colours, which the colour-blind can tell apart; they differ in lightness too.
BLUE, ORANGE, VERMILION, SKY, GREEN = "#0072b2", "#e69f00", "#d55e00", "#56b4e9", "#009e73"


@dataclass(frozen=True)
class Source:
    """Where a figure reads.

    Attributes:
        runs: the folder of all runs.
        dataset_dir: the data root, for figures that show scans.
        cases: subjects to show; chosen by lesion volume if empty.
        note: a line above each figure.
    """

    runs: Path
    dataset_dir: Path | None = None
    cases: Sequence[str] = field(default_factory=tuple)
    note: str = ""

    def data(self) -> Path:
        """The data root, which figures with scans need.

        Raises:
            UsageError: it was not given, or is not there.
        """
        if self.dataset_dir is None or not self.dataset_dir.is_dir():
            raise UsageError(f"--data {self.dataset_dir}: give the data root of the scans")
        return self.dataset_dir

    def found(self, content: Mapping[str, Any]) -> tuple[dict[str, EvaluatedRun], list[str]]:
        """The runs of a figure by label, and the labels of those that have not been run.

        Raises:
            UsageError: none has been run.
        """
        read = {row["label"]: read_run(self.runs, row["run"]) for row in content["rows"]}
        done = {label: run for label, run in read.items() if run}
        if not done:
            raise UsageError(f"{self.runs}: none of the figure's {len(read)} methods has been run")
        return done, [label for label, run in read.items() if run is None]


def not_run(axes: Axes) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center", color="0.4")


def caption(
    figure: Figure,
    content: Mapping[str, Any],
    source: Source,
    missing: Sequence[str] = (),
    legend: Sequence[Artist] = (),
) -> None:
    """Title above, with the note and the legend; below how it was drawn and what is not run."""
    title = content["title"] + (f"\n{source.note}" if source.note else "")
    if legend:  # as the legend's title, for a legend beside one would cover it
        place: dict[str, Any] = {"loc": "outside upper center", "ncols": len(legend)}
        shown = figure.legend(handles=legend, title=title, title_fontsize=9, frameon=False, **place)
        shown.get_title().set_multialignment("center")
    else:
        figure.suptitle(title, fontsize=9)
    below = [content["caption"]] if "caption" in content else []
    below += [f"Not run: {', '.join(missing)}."] if missing else []
    wide = int(17 * figure.get_figwidth())  # letters of 7 points in a line
    figure.supxlabel("\n".join(textwrap.fill(text, wide) for text in below), fontsize=7)
