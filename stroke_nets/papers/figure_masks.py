"""Figures that lay masks over scans: difference maps and boundaries, patients by methods."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage

from stroke_nets.errors import UsageError
from stroke_nets.pages.case_figure import (
    Array,
    AxialSlice,
    difference,
    difference_legend,
    gray_levels,
    load_slices,
    panel,
)
from stroke_nets.papers.figure_style import SKY, VERMILION, Source, caption, not_run
from stroke_nets.runs.results import CaseRow, EvaluatedRun, key

PATIENTS = 5
MIN_WIDTH = 4.8  # inches, for title and legend
MARGIN_MM = 15  # around what is shown
Draw = Callable[[Axes, AxialSlice], None]


def difference_maps(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 7 of AGMR-Net: false negatives and false positives of each method."""
    return _grid(content, source, _difference, difference_legend(), zoom=False)


def boundaries(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 8 of AGMR-Net: outlines of truth and prediction, five patients."""
    return _grid(content, source, _outlines, _outline_legend(), zoom=True)


def scheme_boundaries(content: Mapping[str, Any], source: Source) -> Figure:
    """Fig. 2 of MSCSA: one case, a column for each scheme, a row without and with the module."""
    runs, missing = source.found(content)
    chosen = _subjects(runs, source, by=lambda case: case["lesions_truth"], count=1)
    slices = dict(zip(runs, _load(runs, chosen[0], source, _most_lesions), strict=True))
    shape = _window(next(iter(slices.values())), zoom=False)
    schemes = list(dict.fromkeys(row["scheme"] for row in content["rows"]))
    figure, axes = _panels(2, len(schemes), next(iter(slices.values())), shape, width=1.45)
    for row in content["rows"]:
        place = axes[int(row["with_module"]), schemes.index(row["scheme"])]
        if row["label"] in slices:
            _outlines(place, _cropped(slices[row["label"]], shape))
        else:
            not_run(place)
    for place, scheme in zip(axes[0], schemes, strict=True):
        place.set_title(scheme)
    for place, label in zip(axes[:, 0], content["legend"], strict=True):
        _row_label(place, label)
    caption(figure, content, source, missing, _outline_legend())
    return figure


def _grid(
    content: Mapping[str, Any], source: Source, draw: Draw, legend: list[Any], zoom: bool
) -> Figure:
    """A row for each patient, a column for each method."""
    runs, missing = source.found(content)
    subjects = _subjects(runs, source, by=lambda case: case["truth_ml"], count=PATIENTS)
    rows = [_load(runs, subject, source) for subject in subjects]
    windows = [_window(slices[0], zoom) for slices in rows]
    figure, axes = _panels(len(rows), len(runs), rows[0][0], windows[0], width=1.1)
    for line, subject, slices, window in zip(axes, subjects, rows, windows, strict=True):
        for place, shown in zip(line, slices, strict=True):
            draw(place, _cropped(shown, window))
        _row_label(line[0], "\n".join(filter(None, subject)))
    for place, label in zip(axes[0], runs, strict=True):
        place.set_title(label)
    caption(figure, content, source, missing, legend)
    return figure


def _subjects(
    runs: Mapping[str, EvaluatedRun], source: Source, by: Callable[[CaseRow], float], count: int
) -> list[tuple[str, str]]:
    """Patients with a lesion that every run has: those asked for, or spread over the lesions.

    Raises:
        UsageError: a patient asked for is not in every run, or no patient is.
    """
    cases = {key(case): case for case in next(iter(runs.values())).cases if case["truth_ml"] > 0}
    shared = set(cases).intersection(*({key(case) for case in run.cases} for run in runs.values()))
    if source.cases:
        shared = {patient for patient in shared if patient[0] in source.cases}
        if lacking := set(source.cases) - {subject for subject, _ in shared}:
            raise UsageError(f"--case {min(lacking)}: not a case with a lesion in every run")
        return sorted(shared)
    if not shared:
        raise UsageError(f"{source.runs}: the runs share no case with a lesion; evaluate one fold")
    ranked = sorted(shared, key=lambda patient: (by(cases[patient]), patient))
    if count == 1:
        return ranked[-1:]
    picks = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[pick] for pick in picks]


def _load(
    runs: Mapping[str, EvaluatedRun],
    subject: tuple[str, str],
    source: Source,
    choose: Callable[[Array, Array], int] | None = None,
) -> list[AxialSlice]:
    """One slice of a patient with the prediction of each run; the image as gray levels."""
    found = [next(c for c in run.cases if key(c) == subject) for run in runs.values()]
    masks = [
        run.folders[case["fold"]] / case["prediction"]
        for run, case in zip(runs.values(), found, strict=True)
    ]
    root = source.data()
    slices = load_slices(root / found[0]["image"], root / found[0]["label"], masks, choose)
    return [replace(shown, image=gray_levels(shown.image)) for shown in slices]


def _most_lesions(truth: Array, _: Array) -> int:
    """The slice through most lesions, and among those the one with the largest area."""
    labels, _n = ndimage.label(truth)
    area = truth.sum(axis=(0, 1))
    lesions = [len(np.unique(labels[..., z])) for z in range(truth.shape[2])]
    return max(range(truth.shape[2]), key=lambda z: (lesions[z], area[z]))


Window = tuple[slice, slice]


def _window(first: AxialSlice, zoom: bool) -> Window:
    """The square around the truth (zoom) or the box around the head, with a margin."""
    shown = first.truth if zoom else first.image > 0.05
    box = ndimage.find_objects(shown.astype(np.uint8))
    x, y = box[0] if box else (slice(0, n) for n in shown.shape)
    extents = [(s.stop - s.start) * mm for s, mm in zip((x, y), first.spacing, strict=True)]
    sides = [max(extents)] * 2 if zoom else extents
    window = [
        _grown(s, side + 2 * MARGIN_MM, mm, n)
        for s, side, mm, n in zip((x, y), sides, first.spacing, shown.shape, strict=True)
    ]
    return window[0], window[1]


def _grown(part: slice, side_mm: float, spacing: float, size: int) -> slice:
    """A slice of `side_mm` about the middle of `part`, moved to lie in the image."""
    wanted = min(round(side_mm / spacing), size)
    start = min(max((part.start + part.stop - wanted) // 2, 0), size - wanted)
    return slice(start, start + wanted)


def _cropped(shown: AxialSlice, window: Window) -> AxialSlice:
    names = ("image", "truth", "prediction")
    return replace(shown, **{name: getattr(shown, name)[window] for name in names})


def _panels(
    rows: int, columns: int, shown: AxialSlice, window: Window, width: float
) -> tuple[Figure, Any]:
    """A figure of equal panels, `width` inches each."""
    x, y = ((s.stop - s.start) * mm for s, mm in zip(window, shown.spacing, strict=True))
    size = (max(width * columns + 0.4, MIN_WIDTH), width * y / x * rows + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    return figure, axes


def _row_label(place: Axes, label: str) -> None:
    style: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "ma": "center"}
    place.text(-0.06, 0.5, label, transform=place.transAxes, **style)


def _size_mm(shown: AxialSlice) -> tuple[float, float]:
    x, y = (n * mm for n, mm in zip(shown.image.shape, shown.spacing, strict=True))
    return x, y


def _difference(place: Axes, shown: AxialSlice) -> None:
    panel(place, 0.4 + 0.6 * shown.image, difference(shown), _size_mm(shown), letters="")


def _outlines(place: Axes, shown: AxialSlice) -> None:
    """The scan with the outlines of truth and prediction, in the place of `panel`'s picture."""
    size = _size_mm(shown)
    panel(place, shown.image, [], size, letters="")
    x, y = (
        (np.arange(n) + 0.5) * mm for n, mm in zip(shown.image.shape, shown.spacing, strict=True)
    )
    for mask, colour, line in (
        (shown.truth, VERMILION, "solid"),
        (shown.prediction, SKY, (0, (3, 1.2))),
    ):
        if mask.any():
            picture = mask[::-1].swapaxes(0, 1).astype(float)
            place.contour(x, y, picture, [0.5], colors=[colour], linewidths=0.9, linestyles=[line])


def _outline_legend() -> list[Line2D]:
    return [
        Line2D([], [], color=VERMILION, label="truth"),
        Line2D([], [], color=SKY, linestyle=(0, (3, 1.2)), label="prediction"),
    ]
