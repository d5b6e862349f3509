"""Plots as shapes for the inline SVG of ``macros.html``: curves, and dots for cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 96, 700, 26, 252
FLOOR_ML = 0.01  # smaller volumes, including 0, are drawn at the bottom of the logarithmic axis
KINDS = ("first", "second")  # colours and dashes in style.css

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve: its name, its colour and its points in SVG notation."""

    name: str
    kind: str
    points: str


@dataclass(frozen=True)
class Dot:
    """A value in pixels, with an optional interval and link to a page."""

    x: float
    y: float
    label: str
    kind: str = "first"
    low: float | None = None
    high: float | None = None
    href: str = ""
    odd: bool = False
    radius: float = 4


@dataclass(frozen=True)
class Plot:
    """The shapes of a plot, in pixels of a drawing of `width` x `height`."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


@dataclass(frozen=True)
class Volume:
    """A case in `volumes`: its label, volume, interval, page, and whether it is an outlier."""

    label: str
    ml: float
    interval: tuple[float, float] | None
    href: str
    odd: bool


def curves(title: str, series: Mapping[str, Points], x_label: str, y_label: str) -> Plot:
    """At most two curves over a common axis, with a dot at each point if there are few."""
    across = [x for points in series.values() for x, _ in points]
    up = [y for points in series.values() for _, y in points]
    x_ticks, y_ticks = _ticks(across, integer=True), _ticks([*up, 0.0])
    lines, dots = [], []
    for kind, (name, points) in zip(KINDS, series.items(), strict=False):
        placed = [(_at(x, x_ticks, LEFT, RIGHT), _at(y, y_ticks, BOTTOM, TOP)) for x, y in points]
        lines.append(Line(name, kind, " ".join(f"{x},{y}" for x, y in placed)))
        if len(points) <= 30:  # more dots would hide the line
            for (x, y), (at, value) in zip(placed, points, strict=True):
                dots.append(Dot(x, y, f"{name}, {at:g}: {value:.3f}", kind, radius=3))
    return Plot(
        title,
        x_label,
        y_label,
        [(_at(x, x_ticks, LEFT, RIGHT), f"{x:g}") for x in x_ticks],
        [(_at(y, y_ticks, BOTTOM, TOP), f"{y:g}") for y in y_ticks],
        lines,
        dots,
    )


def volumes(title: str, cases: Sequence[Volume]) -> Plot:
    """The cases sorted by volume, on a logarithmic axis."""
    cases = sorted(cases, key=lambda case: case.ml)
    ends = [end for case in cases for end in (case.ml, *(case.interval or ()))]
    ticks = _decades(ends)

    def up(ml: float) -> float:
        return _at(log10(max(ml, 10 ** ticks[0])), ticks, BOTTOM, TOP)

    dots = []
    for rank, case in enumerate(cases):
        x = round(LEFT + (rank + 0.5) * (RIGHT - LEFT) / len(cases), 1)
        low, high = map(up, case.interval) if case.interval else (None, None)
        dots.append(Dot(x, up(case.ml), case.label, "first", low, high, case.href, case.odd))
    labels = [f"{10**power:g}" for power in ticks]
    if min(ends) < 10 ** ticks[0]:
        labels[0] = f"< {labels[0]}"
    y_ticks = [(up(10**power), label) for power, label in zip(ticks, labels, strict=True)]
    return Plot(title, "cases, by rising volume", "ml", [], y_ticks, [], dots)


def _decades(volumes: Sequence[float]) -> list[int]:
    """Powers of ten around the volumes; those below `FLOOR_ML` are drawn at the bottom."""
    known = [log10(ml) for ml in volumes if ml >= FLOOR_ML] or [0.0]
    low = floor(min(known)) - (min(volumes) < FLOOR_ML)
    return list(range(low, max(ceil(max(known)), low + 1) + 1))


def _ticks(values: Sequence[float], integer: bool = False) -> list[float]:
    """Round numbers from below the smallest value to above the largest."""
    low, high = min(values), max(values)
    ticks = MaxNLocator(5, integer=integer, steps=[1, 2, 5, 10]).tick_values(
        low, high if high > low else low + 1
    )
    return [round(float(tick), 10) for tick in ticks]


def _at(value: float, ticks: Sequence[float], first: float, last: float) -> float:
    """The position of a value, given those of the first and the last tick."""
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(first + share * (last - first), 1)
