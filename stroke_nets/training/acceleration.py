"""Training at its fastest on a GPU: what the overlay ``accelerate.yaml`` of the bundles changes.

bfloat16 where the GPU multiplies it, the channels last in memory, the network compiled by PyTorch,
a fused optimiser and cuDNN's fastest kernels (``benchmarks/gpu.py``). What is computed stays the
same; the order of its sums does not, not even from run to run. On a CPU nothing is compiled, which
would take five minutes for a tiny U-Net + MSCSA, and all is float32.
"""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from stroke_nets.inference.backend import choose_bfloat16


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The network as the trainer runs it; a compiled one shares the weights of the one given."""
    if device.type == "cpu":
        return network
    run = torch.compile(network, dynamic=False)  # PyTorch calls it a callable; it is a module
    return run  # type: ignore[return-value]


def amp_options(device: torch.device) -> dict[str, Any]:
    """For MONAI's ``amp_kwargs``: bfloat16 if the GPU has it, else float16, as by default."""
    has = device.type == "cuda" and choose_bfloat16("auto", device)
    return {"dtype": torch.bfloat16} if has else {}


class FastestKernels:
    """Let cuDNN try its kernels and take the fastest, deterministic or not.

    Attach it after `RunHandlers`, whose seeding makes PyTorch deterministic.
    """

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._choose)

    def _choose(self, engine: Engine) -> None:
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
