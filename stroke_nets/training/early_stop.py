"""Stop a training that no longer improves."""

from typing import Any

from ignite.engine import Engine, Events


class EarlyStop:
    """End a training after a number of validations without improvement.

    Unlike MONAI's handler it keeps no counter: the best epoch is in the checkpoint, so a resumed
    training ends at the same epoch as an uninterrupted one.

    Args:
        evaluator: validation engine, whose key metric is used.
        patience: number of validations without improvement.
        interval: number of epochs between validations.
    """

    def __init__(self, evaluator: Engine, patience: int, interval: int) -> None:
        """Store the options."""
        self.evaluator, self.epochs = evaluator, patience * interval

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after its validation handler."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)

    def _stop(self, engine: Engine) -> None:
        validation: Any = self.evaluator.state  # MONAI adds its attributes at runtime
        best = validation.best_metric_epoch
        if best > 0 and engine.state.epoch - best >= self.epochs:
            engine.terminate()
