"""What makes the processes of one training count as one: its loss and its statistics."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, distributed, nn


class LossOfAllRanks(nn.Module):
    """A loss of the batches of all processes together.

    A mean of losses is another thing wherever a loss pools its batch, as Dice and TopK do. Each
    process holds the others' outputs as constants. Its gradient is the part that its own outputs
    have in the loss, times the number of processes, by which DistributedDataParallel divides.

    Args:
        loss: of network output and label; the processes' batches are equally large.
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
    """Batches joined in the order of ranks; gradients reach this process's own part."""
    if not isinstance(value, Tensor):
        return type(value)(_of_all_ranks(part) for part in value)
    parts = [torch.empty_like(value) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, value.detach().contiguous())
    parts[distributed.get_rank()] = value
    return torch.cat(parts)


class FirstRanksStatistics:
    """Validate everywhere with the first process's batch statistics, those that are saved.

    Args:
        network: its buffers are overwritten.
    """

    def __init__(self, network: nn.Module) -> None:
        """Remember the network."""
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.STARTED, self._receive)

    def _receive(self) -> None:
        for buffer in self.network.buffers():
            distributed.broadcast(buffer, 0)
