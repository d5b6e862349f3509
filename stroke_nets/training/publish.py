"""Publish weights as ``models/<overlay>.safetensors``, listed in ``weights.json``."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from stroke_nets.bundle_folders import LISTED, weights_list
from stroke_nets.files import whole
from stroke_nets.scans.reader import sha256
from stroke_nets.training.checkpoint import load_weights


def publish(
    checkpoint: Path, network: nn.Module, models: Path, overlay: str, **about: Any
) -> dict[str, Any]:
    """Write a checkpoint's weights in half precision and put them first in the list.

    The first of the list are those that ``predict`` takes by default.

    The output is reproducible byte for byte.

    Args:
        checkpoint: checkpoint of a training.
        network: the trained network; may be on the meta device.
        models: the bundle's ``models`` folder.
        overlay: the overlay used in training; the file is named after it.
        about: ``trained_on``, ``date``, ``dice_simulated`` and, if measured, ``dice_real``.

    Returns:
        The entry of the list.

    Raises:
        UsageError: the checkpoint does not exist.
        DataError: it contains the weights of another network.
    """
    weights = load_weights(checkpoint, network)
    halves = {k: v.half() if v.dtype == torch.float32 else v for k, v in weights.items()}
    file = models / f"{overlay}.safetensors"
    _write(file, save({name: halves[name].contiguous() for name in sorted(halves)}))
    entry = {"file": file.name, "overlay": overlay, "sha256": sha256(file), **about}
    others = [e for e in weights_list(models.parent) if e["file"] != file.name]
    _write(models.parent / LISTED, (json.dumps([entry, *others], indent=2) + "\n").encode())
    return entry


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_bytes(content)
