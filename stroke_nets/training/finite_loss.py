"""Stop a training at a non-finite loss, before it corrupts the weights."""

from typing import Any

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents

from stroke_nets.errors import DataError


class FiniteLoss:
    """Stop at a loss that is NaN or infinite and name the cases of its batch."""

    def attach(self, engine: Engine) -> None:
        """Attach to a `monai.engines.SupervisedTrainer`."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        output: Any = engine.state.output
        if torch.isfinite(output["loss"]).all():
            return
        batch: Any = engine.state.batch
        cases = ", ".join(dict.fromkeys(batch.get("case", ["a batch of unnamed cases"])))
        raise DataError(
            f"{cases}: the loss is {output['loss'].item()} in epoch {engine.state.epoch}; look at "
            "these scans with stroke-nets check, or lower --learning_rate; the last checkpoint "
            "is of the epoch before"
        )
