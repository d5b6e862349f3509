"""The training part of a run's report: curves, remaining time, validation cases.

It reads the run folder: TensorBoard's log in ``events/``, ``config.yaml``, the pictures in
``validation/``, and whether a process has locked the folder.
"""

import math
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from stroke_nets.pages.case_figure import CONVENTION
from stroke_nets.pages.plot import Plot, curves
from stroke_nets.runs.requirements import require_extra
from stroke_nets.runs.run_lock import is_running

Event = Any  # TensorBoard's: wall_time, step, value
LOSS = "train_loss"


def training(run_dir: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The variables of ``training.html`` for a run; None if no finished epoch was logged.

    Args:
        run_dir: the run folder.
        config: content of its ``config.yaml``.
    """
    if not any((run_dir / "events").glob("events.out.tfevents.*")):
        return None
    log = scalars(run_dir / "events")
    epochs = _by_epoch(log)
    if not epochs:
        return None
    planned = config.get("max_epochs")
    return {
        "facts": _progress(epochs, planned, is_running(run_dir)),
        "plots": _plots(log, epochs),
        "pictures": _pictures(run_dir / "validation"),
        "convention": CONVENTION,
    }


def scalars(events: Path) -> dict[str, list[Event]]:
    """TensorBoard's scalars by tag, each in the order of writing; finite values only.

    Args:
        events: the run folder's ``events``.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    require_extra("tensorboard", "train", "the curves of a training")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events), size_guidance={"scalars": 0})  # all of them
    log.Reload()
    found = {tag: log.Scalars(tag) for tag in log.Tags()["scalars"]}
    return {tag: [e for e in log if math.isfinite(e.value)] for tag, log in found.items()}


def _by_epoch(log: dict[str, list[Event]]) -> dict[int, Event]:
    """The last event of each epoch; if an epoch was repeated after an interruption, its last one.

    Training metrics other than the loss are written once per epoch.
    """
    ends = next((log[tag] for tag in sorted(log) if tag.startswith("train_") and tag != LOSS), [])
    return {event.step: event for event in ends}


def _plots(log: dict[str, list[Event]], epochs: dict[int, Event]) -> list[Plot]:
    """The loss and the metrics of training and validation, by epoch."""
    loss = [(k, _at_end(log[LOSS], k, end)) for k, end in sorted(epochs.items()) if LOSS in log]
    metrics = {
        tag.replace("_", " "): sorted({e.step: e.value for e in log[tag]}.items())
        for tag in sorted(log)
        if tag != LOSS and log[tag]
    }
    metrics = {name.replace("val ", "validation "): points for name, points in metrics.items()}
    metrics = {name.replace("train ", "training "): points for name, points in metrics.items()}
    plots = (
        [curves("Training loss, mean of each epoch", {"loss": loss}, "epoch", "")] if loss else []
    )
    for kind in sorted({name.partition(" ")[2] for name in metrics}):
        chosen = {n: metrics[n] for n in sorted(metrics) if n.partition(" ")[2] == kind}
        plots.append(curves(kind.capitalize(), chosen, "epoch", ""))
    return plots


def _at_end(losses: list[Event], epoch: int, end: Event) -> float:
    """The mean loss of an epoch.

    The log contains the losses of batches and epochs under one tag, numbered by batch and by epoch:
    the value of epoch k is the one numbered k that was written at the end of the epoch.
    """
    near = (event for event in losses if event.step == epoch)
    return float(min(near, key=lambda event: abs(event.wall_time - end.wall_time)).value)


def _progress(
    epochs: dict[int, Event], planned: int | None, running: bool
) -> list[tuple[str, str]]:
    """The progress of the training and its expected end."""
    done, ends = max(epochs), [epochs[k].wall_time for k in sorted(epochs)]
    steps = [after - before for before, after in pairwise(ends)]
    of = f" of {planned}" if planned else ""
    last = datetime.fromtimestamp(ends[-1], UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = [("epochs", f"{done}{of}"), ("last epoch ended", last)]
    if steps:
        facts.append(("time of an epoch", _duration(median(steps))))
    if not running:
        finished = planned and done >= planned
        return [("state", "finished" if finished else "not running"), *facts]
    left = _duration(median(steps) * (planned - done)) if steps and planned else "not known yet"
    return [("state", "running"), *facts, ("time left, about", left)]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, part = divmod(minutes, 60)
    return f"{hours} h {part} min" if hours else f"{part} min {rest} s"


def _pictures(folder: Path) -> list[tuple[str, bytes]]:
    """The pictures of validation cases from the training, by name."""
    return [(path.stem, path.read_bytes()) for path in sorted(folder.glob("*.png"))]
