"""Loss and batch statistics that make several processes equal one training."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, distributed, nn


class LossOfAllRanks(nn.Module):
    """A loss over the batches of all processes together.

    It differs from the mean of the losses if a loss pools its batch, as Dice and TopK do. Each
    process treats the others' outputs as constants. Its gradient is that of its own outputs times
    the number of processes, by which DistributedDataParallel divides.

    Args:
        loss: takes network output and label; all processes must have the same batch size.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Store the loss."""
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Any, label: Tensor) -> Tensor:
        """The loss of all processes' outputs (tensors, nested in tuples or lists) and labels."""
        loss: Tensor = self.loss(_of_all_ranks(outputs), _of_all_ranks(label))
        return loss + (distributed.get_world_size() - 1) * (loss - loss.detach())


def _of_all_ranks(value: Any) -> Any:
    """Concatenate batches in the order of ranks, with gradients for this process's part only."""
    if not isinstance(value, Tensor):
        return type(value)(_of_all_ranks(part) for part in value)
    parts = [torch.empty_like(value) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, value.detach().contiguous())
    parts[distributed.get_rank()] = value
    return torch.cat(parts)


class FirstRanksStatistics:
    """Validate with the first process's batch statistics, which are the saved ones.

    Args:
        network: its buffers are overwritten.
    """

    def __init__(self, network: nn.Module) -> None:
        """Store the network."""
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._receive)

    def _receive(self) -> None:
        for buffer in self.network.buffers():
            distributed.broadcast(buffer, 0)
