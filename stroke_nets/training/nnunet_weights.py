"""Load weights trained with nnU-Net v2 into the networks of this package.

nnU-Net v2 builds `PlainConvUNet` and `ResidualEncoderUNet` of `dynamic_network_architectures`
(https://github.com/MIC-DKFZ/dynamic-network-architectures); each of their tensors has a counterpart
in `PlainUNet` and `ResUNet`, including the heads of deep supervision.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from stroke_nets.errors import DataError

# They register most tensors twice: in the decoder's reference to the encoder and in `all_modules`.
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
FIX = "build it with the plan's widths, blocks and classes"
# nnU-Net saves NumPy scalars with the weights; reading these types runs no code from the file.
# The second name is NumPy 1's.
SCALAR: Any = np.float64().__reduce__()[0]
SCALARS: list[Any] = [
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64", "bool")),
]


def from_nnunet(
    state_dict: Mapping[str, Tensor], network: nn.Module, source: str = "nnU-Net weights"
) -> dict[str, Tensor]:
    """Rename the tensors of an nnU-Net v2 network for `network.load_state_dict`.

    Args:
        state_dict: that of a `PlainConvUNet` or a `ResidualEncoderUNet`.
        network: a `PlainUNet(bias=True)`, or a `ResUNet(block=ResidualBlockD, bias=True)`.
        source: name for error messages, such as the checkpoint.

    Raises:
        DataError: a tensor is missing, has a different shape, or has no counterpart.
    """
    theirs = {_rename(name): name for name in state_dict if not ALIASES.search(name)}
    ours = network.state_dict()
    for name, own in ours.items():
        if name not in theirs:
            raise DataError(f"{source}: {name} of the network is missing; {FIX}")
        shape = tuple(getattr(state_dict[theirs[name]], "shape", ()))
        if shape != tuple(own.shape):
            raise DataError(
                f"{source}: {theirs[name]} has shape {shape}, "
                f"{name} of the network {tuple(own.shape)}; {FIX}"
            )
    for name, original in theirs.items():
        if name not in ours:
            raise DataError(f"{source}: {original} has no place in the network; {FIX}")
    return {name: state_dict[theirs[name]] for name in ours}


def _rename(name: str) -> str:
    for pattern, ours in RENAMES:
        name = pattern.sub(ours, name)
    return name
