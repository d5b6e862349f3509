"""Load a network's weights. It imports no Ignite, for which prediction would wait."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stroke_nets.errors import DataError, UsageError
from stroke_nets.training import checkpoint_file
from stroke_nets.training.nnunet_weights import from_nnunet


def load_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """Load a checkpoint's weights if they fit the network. Nothing in the file is executed.

    Args:
        path: a checkpoint of a run, a bare state dict, published ``.safetensors`` (float16 is
            converted to float32), or nnU-Net v2's ``checkpoint_final.pth``.
        network: may be on the meta device.

    Raises:
        UsageError: the file does not exist.
        DataError: it is damaged, cannot be read, or contains the weights of another network or
            invalid numbers.
    """
    if not Path(path).is_file():
        raise UsageError(f"checkpoint {path}: no such file; train first or give --checkpoint")
    saved = checkpoint_file.read(Path(path))
    found: Any = saved
    for key in ("network_weights", "network"):
        if isinstance(saved, dict) and key in saved:
            found = saved[key]
            break
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise DataError(f"checkpoint {path}: holds no weights; give one of a training")
    own = network.state_dict()
    if "network_weights" in saved:
        weights = from_nnunet(found, network, str(path))
    else:
        weights = found
        _require_same_shapes(path, own, weights)
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            fault = "no tensor"
        elif value.layout != torch.strided or value.is_quantized or value.is_meta:
            fault = "a tensor that is sparse, quantized or empty"
        elif value.nbytes > value.untyped_storage().nbytes():
            fault = "fewer numbers than it announces"
        elif value.is_floating_point() != own[name].is_floating_point():
            fault = f"{str(value.dtype).removeprefix('torch.')} numbers"
        elif not torch.isfinite(value).all():
            fault = "NaN or infinite numbers"
        else:
            continue
        raise DataError(f"checkpoint {path}: {name} holds {fault}; give one of a sound training")
    return dict(weights)


def _require_same_shapes(
    path: str | Path, own: Mapping[str, Tensor], weights: Mapping[str, Any]
) -> None:
    wanted, found = _shapes(own), _shapes(weights)
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise DataError(
                f"checkpoint {path}: of another network: {name} is {found.get(name, 'missing')}, "
                f"wanted {wanted.get(name, 'none')}; give the overlay and widths of its training"
            )


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in weights.items()}


def load_into(network: nn.Module, path: str | Path | None) -> nn.Module:
    """Load a checkpoint into a network; if ``path`` is None, the network keeps its weights.

    Raises:
        UsageError: the file does not exist.
        DataError: it cannot be read, or contains the weights of another network.
    """
    if path is not None:
        network.load_state_dict(load_weights(path, network))
    return network


def load_network(network: nn.Module, path: str | Path) -> nn.Module:
    """A copy of a network with a checkpoint's weights, in evaluation mode.

    Args:
        network: on the meta device, where it takes no memory.
        path: a checkpoint of a run.

    Raises:
        UsageError: the file does not exist.
        DataError: it cannot be read, or contains the weights of another network.
    """
    loaded = copy.deepcopy(network)
    loaded.load_state_dict(load_weights(path, network), assign=True)
    return loaded.eval()
