"""Start a training again whose validation Dice is still zero.

Source: ``nnUNetTrainerV2.on_epoch_end`` of nnU-Net v1, as in the code of MSCSA's authors
(nadluru/StrokeLesSeg): a momentum of 0.99 is too high for some data sets.
"""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from stroke_nets.networks.nnunet import he_init


class RestartOnZeroDice:
    """After one epoch with a validation Dice of exactly zero: new weights, less momentum.

    The convolutions get new Kaiming-normal weights and zero biases; norms, the optimiser's buffers
    and the learning rate's schedule go on, as in the code. The weights depend on the seed alone,
    so that all processes get the same ones, and a resumed training gets them again.

    Args:
        evaluator: validation engine, whose key metric is used.
        network: of the training.
        optimizer: SGD.
        seed: of the new weights.
        epoch: number of the epoch, from 1, after which the Dice is looked at; code: its epoch 100,
            counted from 0.
        momentum: from then on; code: 0.95.
    """

    def __init__(
        self,
        evaluator: Engine,
        network: nn.Module,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        epoch: int = 101,
        momentum: float = 0.95,
    ) -> None:
        """Store the options."""
        self.evaluator, self.network, self.optimizer = evaluator, network, optimizer
        self.seed, self.epoch, self.momentum = seed, epoch, momentum

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after its validation and before its checkpoint."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=self.epoch), self._restart)

    def _restart(self, engine: Engine) -> None:
        validation: Any = self.evaluator.state  # MONAI adds its attributes at runtime
        if validation.metrics[validation.key_metric_name] != 0:
            return
        for group in self.optimizer.param_groups:
            group["momentum"] = self.momentum
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network.apply(he_init)
        engine.logger.warning(
            "validation Dice is 0 after epoch %d: training restarts with new weights and "
            "momentum %s",
            self.epoch,
            self.momentum,
        )
