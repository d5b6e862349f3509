"""Fast training on a GPU, for the overlay ``accelerate.yaml`` of the bundles.

It uses bfloat16 where the GPU supports it, channels-last memory, `torch.compile`, a fused optimiser
and cuDNN's fastest kernels (``benchmarks/gpu.py``). The computation is the same, but the order of
summation is not, even between runs. On a CPU everything is float32 and nothing is compiled, which
would take five minutes for a tiny U-Net + MSCSA.
"""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from stroke_nets.inference.backend import choose_bfloat16


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The network for the trainer; a compiled one shares the weights of ``network``."""
    if device.type == "cpu":
        return network
    run = torch.compile(network, dynamic=False)  # typed as a callable, but it is a module
    return run  # type: ignore[return-value]


def amp_options(device: torch.device) -> dict[str, Any]:
    """MONAI's ``amp_kwargs``: bfloat16 if the GPU supports it, otherwise float16, the default."""
    has = device.type == "cuda" and choose_bfloat16("auto", device)
    return {"dtype": torch.bfloat16} if has else {}


class FastestKernels:
    """Let cuDNN benchmark its kernels and use the fastest, deterministic or not.

    Attach it after `RunHandlers`, whose seeding makes PyTorch deterministic.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._choose)

    def _choose(self, engine: Engine) -> None:
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
