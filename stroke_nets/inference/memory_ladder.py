"""What to do when the GPU's memory does not suffice: less at once, then the CPU."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from stroke_nets.inference.ensemble import EnsembleInferer

AT_ONCE = ("batch_size", "flips_at_once")  # how inferers call what the network gets at once

logger = logging.getLogger(__name__)

Network = Callable[..., Tensor]
Step = tuple[str, Callable[[Tensor, Network], Tensor]]


class MemoryLadder(Inferer):
    """Sweep a volume as asked; out of memory, by smaller and smaller steps.

    They are: half of the batch, down to one; one at a time, with the volume and its probabilities
    on the CPU; everything on the CPU. Each is logged, and the next volume starts at the top again.

    Args:
        inferer: such as `SliceStackInferer` or `PatchInferer`.
    """

    def __init__(self, inferer: Inferer) -> None:
        """Store the inferer."""
        super().__init__()
        self.inferer = inferer
        self.taken = ""  # the step that the last volume needed; "" if it went as asked

    def __call__(self, inputs: Tensor, network: Network) -> Tensor:
        """Sweep the volumes.

        Args:
            inputs: B x 1 x ...
            network: a module, which the last step moves to the CPU and back; of any other callable
                there is no last step.

        Returns:
            What the inferer gives; on the CPU if one of the last two steps was taken.

        Raises:
            torch.OutOfMemoryError: no step suffices.
        """
        first, *others = self._steps(isinstance(network, nn.Module))
        self.taken, sweep = first
        for name, smaller in others:
            try:
                return sweep(inputs, network)
            except torch.OutOfMemoryError:
                logger.warning("out of memory on %s: trying %s", inputs.device, name)
            torch.cuda.empty_cache()  # out of the except, whose traceback holds the maps
            self.taken, sweep = name, smaller
        return sweep(inputs, network)

    def _steps(self, movable: bool) -> Iterator[Step]:
        yield "", self.inferer
        key = next((key for key in AT_ONCE if hasattr(self.inferer, key)), None)
        size = 1 if key is None else getattr(self.inferer, key) or 2  # None: as many as fit a GPU
        while size > 1:
            size //= 2
            yield f"batches of {size}", self._with(key, size)
        yield "stitching on the CPU", self._with(key, 1, self._stitch_on_cpu)
        if movable:
            yield "the CPU", self._with(key, 1, self._all_on_cpu)

    def _with(
        self, key: str | None, size: int, sweep: Callable[[Tensor, Network], Tensor] | None = None
    ) -> Callable[[Tensor, Network], Tensor]:
        """A sweep with another batch size for its time."""

        def run(inputs: Tensor, network: Network) -> Tensor:
            with _changed(self.inferer, key, size):
                result: Tensor = (sweep or self.inferer)(inputs, network)
                return result

        return run

    def _stitch_on_cpu(self, inputs: Tensor, network: Network) -> Tensor:
        device = inputs.device
        swept: Tensor = self.inferer(inputs.cpu(), lambda part: network(part.to(device)).cpu())
        return swept

    def _all_on_cpu(self, inputs: Tensor, network: Network) -> Tensor:
        assert isinstance(network, nn.Module)
        try:
            swept: Tensor = self.inferer(inputs.cpu(), network.cpu())
        finally:
            network.to(inputs.device)
        return swept


def with_memory_ladder(inferer: Inferer) -> Inferer:
    """The same inferer, each network's sweep on a `MemoryLadder`."""
    if isinstance(inferer, EnsembleInferer):
        return EnsembleInferer(MemoryLadder(inferer.inferer))
    return MemoryLadder(inferer)


@contextmanager
def _changed(thing: object, key: str | None, value: int) -> Iterator[None]:
    """An attribute with another value for a while."""
    if key is None:
        yield
        return
    before = getattr(thing, key)
    setattr(thing, key, value)
    try:
        yield
    finally:
        setattr(thing, key, before)
