"""Exponential moving average of a network's weights."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

WARM_UP = 10  # iterations; early averages use a smaller decay


class WeightAverage:
    """Update the average after every iteration, including the norms' running statistics.

    The decay is ``min(decay, (1 + i) / (10 + i))`` after iteration i of the whole training, so
    resuming an interrupted training makes no difference.

    Args:
        network: the trained network.
        average: a copy of it, modified in place.
        decay: decay per iteration; the average spans about 1 / (1 - decay) iterations.

    Raises:
        ValueError: the decay is not in [0, 1).
    """

    def __init__(self, network: nn.Module, average: nn.Module, decay: float = 0.99) -> None:
        """Store both networks."""
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay}: give a number in [0, 1)")
        self.network, self.average, self.decay = network, average, decay

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._move)

    @torch.no_grad()
    def _move(self, engine: Engine) -> None:
        done = engine.state.iteration
        weight = 1 - min(self.decay, (1 + done) / (WARM_UP + done))
        trained: dict[str, Any] = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(trained[name], weight)
            else:
                value.copy_(trained[name])
