"""Weights trained with nnU-Net v2, for the networks of this package.

nnU-Net v2 builds `PlainConvUNet` and `ResidualEncoderUNet` of `dynamic_network_architectures`
(https://github.com/MIC-DKFZ/dynamic-network-architectures); every tensor of theirs has its place
in `PlainUNet` and `ResUNet`, the heads of deep supervision included.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stroke_nets.errors import DataError

# They register most tensors twice: the decoder holds the encoder, a layer the list of its parts.
ALIASES = re.compile(r"^decoder\.encoder\.|\.all_modules\.")
RENAMES = (
    (re.compile(r"^encoder\.stem\.convs\.0\."), "stem."),
    (re.compile(r"^encoder\.stages\.(\d+)\.(?:0\.convs|blocks)\."), r"encoder.\1."),
    (re.compile(r"^decoder\.transpconvs\.(\d+)\."), r"decoder.\1.up."),
    (re.compile(r"^decoder\.stages\.(\d+)\."), r"decoder.\1."),
    (re.compile(r"^decoder\.seg_layers\."), "heads."),
    (re.compile(r"\.conv\.(weight|bias)$"), r".0.\1"),
    (re.compile(r"\.norm\.(weight|bias)$"), r".1.\1"),
)
CHECKPOINT = "checkpoint_final.pth of nnU-Net v2"
MEND = "build it with the plan's widths, blocks and classes"
# nnU-Net logs NumPy scalars beside the weights; reading these types runs no code of the file.
# The second name is the one that NumPy 1 wrote.
SCALAR: Any = np.float64().__reduce__()[0]
SCALARS: list[Any] = [
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64", "bool")),
]


def from_nnunet(state_dict: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of an nnU-Net v2 network as `network.load_state_dict` takes them.

    Args:
        state_dict: of a `PlainConvUNet` or a `ResidualEncoderUNet`.
        network: a `PlainUNet(bias=True)`, or a `ResUNet(block=ResidualBlockD, bias=True)`.

    Raises:
        DataError: a tensor is missing, has another shape, or has no place in the network.
    """
    theirs = {_rename(name): name for name in state_dict if not ALIASES.search(name)}
    ours = network.state_dict()
    for name, own in ours.items():
        if name not in theirs:
            raise DataError(f"nnU-Net weights lack {name} of the network; {MEND}")
        shape = tuple(state_dict[theirs[name]].shape)
        if shape != tuple(own.shape):
            raise DataError(
                f"nnU-Net weights: {theirs[name]} has shape {shape}, "
                f"{name} of the network {tuple(own.shape)}; {MEND}"
            )
    for name, original in theirs.items():
        if name not in ours:
            raise DataError(f"nnU-Net weights: {original} has no place in the network; {MEND}")
    return {name: state_dict[theirs[name]] for name in ours}


def load_nnunet_checkpoint(path: str | Path, network: nn.Module) -> nn.Module:
    """Load a user's `checkpoint_final.pth` of nnU-Net v2 into a network, and return it.

    The file is read without executing anything in it.

    Args:
        path: the checkpoint; only its `network_weights` are used.
        network: as `from_nnunet` takes it, of the plan's widths, blocks and classes.

    Raises:
        DataError: the file cannot be read, is no such checkpoint, or does not fit the network.

    Example:
        >>> from stroke_nets.networks.nnunet import PlainUNet
        >>> load_nnunet_checkpoint("checkpoint_final.pth", PlainUNet(bias=True))  # doctest: +SKIP
    """
    try:
        with torch.serialization.safe_globals(SCALARS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = type(error).__name__  # PyTorch's text is long, and advises to execute the file
        raise DataError(f"{path}: cannot be read ({reason}); give a {CHECKPOINT}") from error
    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        raise DataError(f"{path}: it has no network_weights; give a {CHECKPOINT}")
    try:
        network.load_state_dict(from_nnunet(checkpoint["network_weights"], network))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return network


def _rename(name: str) -> str:
    for pattern, ours in RENAMES:
        name = pattern.sub(ours, name)
    return name
