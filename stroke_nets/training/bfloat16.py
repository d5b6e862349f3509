"""Fast training on CPUs, in bfloat16 where they have it; MONAI's ``amp`` works on GPUs only."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stroke_nets.inference.backend import LAYOUTS, channels_last, choose_bfloat16


class BFloat16Inferer(SimpleInferer):
    """Run a network under autocast where that is faster, and return float32.

    On a CPU and in bfloat16, batches and weights are laid out channels last: with oneDNN, training
    steps are 1.1 to 1.4 times faster so in bfloat16, and 1.1 to 1.5 times in float32 with AVX2.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 if the hardware supports it.

    Raises:
        UsageError: the precision is unknown.
    """

    def __init__(self, precision: str = "auto") -> None:
        """Validate the precision."""
        choose_bfloat16(precision, torch.device("cpu"))
        self.precision = precision
        self.network: nn.Module | None = None  # the one whose weights lie channels last

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The network's output for a batch: a tensor, or the logits and those of deeper levels."""
        bfloat16 = choose_bfloat16(self.precision, inputs.device)
        if (bfloat16 or inputs.device.type == "cpu") and inputs.dim() in LAYOUTS:
            if network is not self.network:
                self.network = channels_last(network)
            inputs = inputs.contiguous(memory_format=LAYOUTS[inputs.dim()])
        autocast = torch.autocast(inputs.device.type, torch.bfloat16, enabled=bfloat16)
        with autocast, _ShallowVolumes():
            output = network(inputs, *args, **kwargs)
        return _float32(output)


class _ShallowVolumes(TorchFunctionMode):
    """Convolve a CPU's volumes of fewer slices than the kernel, but more than one, in float32.

    In bfloat16 on processors with AVX-512, PyTorch 2.13 (oneDNN) then computes a wrong gradient of
    the weights, often nan. The 3D branches of AGMR-Net and D-UNet have such volumes, of 2 slices.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv3d and args[0].device.type == "cpu":
            volume, weight = args[:2]
            if 1 < volume.shape[-3] < weight.shape[-3]:
                with torch.autocast("cpu", enabled=False):
                    return func(volume.float(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _float32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_float32(part) for part in output)
