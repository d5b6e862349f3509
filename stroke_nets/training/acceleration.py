"""Training at its fastest on a GPU, by one option of the bundles: ``--accelerate true``.

bfloat16 where the GPU multiplies it, the channels last in memory, the network compiled by PyTorch,
a fused optimiser and cuDNN's fastest kernels (``benchmarks/gpu.py``). What is computed stays; the
order of its sums does not, not even from run to run. On a CPU nothing is compiled, which would
take five minutes for a tiny U-Net + MSCSA, and all is float32.
"""

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines.utils import default_prepare_batch
from torch import Tensor, nn

from stroke_nets.inference.backend import channels_last, choose_bfloat16


def placed(network: nn.Module, device: torch.device, accelerate: bool) -> nn.Module:
    """The network on its device; accelerated, its weights lie with the channels last."""
    network = network.to(device)
    return channels_last(network) if accelerate else network


def compiled(network: nn.Module, device: torch.device, accelerate: bool) -> nn.Module:
    """The network as the trainer runs it; a compiled one shares the weights of the one given."""
    if not accelerate or device.type == "cpu":
        return network
    run = torch.compile(network, dynamic=False)  # PyTorch calls it a callable; it is a module
    return run  # type: ignore[return-value]


def amp_options(device: torch.device, accelerate: bool) -> dict[str, Any]:
    """For MONAI's ``amp_kwargs``: bfloat16 if the GPU has it, else float16, as by default."""
    has = accelerate and device.type == "cuda" and choose_bfloat16("auto", device)
    return {"dtype": torch.bfloat16} if has else {}


def plain_batch(
    batch: dict[str, Tensor], device: torch.device, non_blocking: bool = False, **options: Any
) -> tuple[Any, ...]:
    """Image and label, B x C x ..., as plain tensors, which can be compiled.

    It is for MONAI's ``prepare_batch``.
    """
    parts = default_prepare_batch(batch, device, non_blocking, **options)
    return tuple(p.as_tensor() if isinstance(p, MetaTensor) else p for p in parts)


class FastestKernels:
    """Let cuDNN try its kernels and take the fastest, deterministic or not.

    Attach it after `SeedEachEpoch`, which makes PyTorch deterministic.
    """

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._choose)

    def _choose(self, engine: Engine) -> None:
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
