"""Stop a training that no longer gets better."""

from typing import Any

from ignite.engine import Engine, Events


class EarlyStop:
    """End a training after so many validations without a better one.

    It keeps no count of its own, as MONAI's handler does: the best epoch is in the checkpoint, so a
    resumed training ends where an undisturbed one does.

    Args:
        evaluator: validation engine; its key metric decides.
        patience: validations.
        interval: epochs from one validation to the next.
    """

    def __init__(self, evaluator: Engine, patience: int, interval: int) -> None:
        """Store the options."""
        self.evaluator, self.epochs = evaluator, patience * interval

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; after its validation handler."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)

    def _stop(self, engine: Engine) -> None:
        validation: Any = self.evaluator.state  # MONAI adds its attributes at run time
        best = validation.best_metric_epoch
        if best > 0 and engine.state.epoch - best >= self.epochs:
            engine.terminate()
