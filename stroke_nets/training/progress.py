"""Training progress: a bar with the remaining time, and one line per epoch."""

from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import from_engine

from stroke_nets.progress import new_bar


class TrainingProgress:
    """One bar over the whole training (Ignite's restarts every epoch), and a line per epoch.

    Args:
        evaluator: validation engine whose metrics are added to the line.
    """

    def __init__(self, evaluator: Engine | None = None) -> None:
        """Store the evaluator."""
        self.evaluator = evaluator
        self.loss = from_engine("loss", first=True)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.bar.stop())

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state
        total = state.max_epochs * state.epoch_length
        self.bar = new_bar()
        self.task = self.bar.add_task("training", total=total, completed=state.iteration)
        self.bar.start()

    def _advance(self, engine: Engine) -> None:
        loss = self.loss(engine.state.output)
        self.bar.update(self.task, advance=1, description=f"training, loss {loss:.3f}")

    def _report(self, engine: Engine) -> None:
        values = dict(engine.state.metrics)
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            values |= self.evaluator.state.metrics
        text = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        # flushed, so that a log file shows each epoch at once
        print(f"epoch {engine.state.epoch}/{engine.state.max_epochs}  {text}", flush=True)
