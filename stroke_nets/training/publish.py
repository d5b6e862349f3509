"""Publish weights as ``models/<overlay>.safetensors``, listed in ``weights.json``."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from stroke_nets.bundle_folders import LISTED, weights_list
from stroke_nets.files import whole
from stroke_nets.scans.reader import sha256
from stroke_nets.training.checkpoint import load_weights


class Calibration(NamedTuple):
    """Platt's scaling (1999) of a network's logits, as a part of its weights.

    Attributes:
        layer: name of the layer that gives the logits; it has a bias.
        slope: factor of the logits.
        offset: is added to the lesion's, the last one, after that.
    """

    layer: str
    slope: float
    offset: float

    def of(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the network whose probabilities are calibrated."""
        scaled = {k: self.slope * weights[f"{self.layer}.{k}"] for k in ("weight", "bias")}
        scaled["bias"][-1] += self.offset
        return weights | {f"{self.layer}.{k}": value for k, value in scaled.items()}


def publish(
    checkpoint: Path,
    network: nn.Module,
    models: Path,
    overlay: str,
    calibration: Calibration | None = None,
    **about: Any,
) -> dict[str, Any]:
    """Write a checkpoint's weights in half precision and list them.

    The first of the list are those that ``predict`` takes by default. Weights of an overlay that is
    listed take its place, and others the first one.

    The output is reproducible byte for byte.

    Args:
        checkpoint: checkpoint of a training.
        network: the trained network; may be on the meta device.
        models: the bundle's ``models`` folder.
        overlay: the overlay used in training; the file is named after it.
        calibration: of the probabilities; None: they stay as they are.
        about: ``trained_on``, ``date``, ``dice_simulated`` and, if measured, ``dice_real``.

    Returns:
        The entry of the list.

    Raises:
        UsageError: the checkpoint does not exist.
        DataError: it contains the weights of another network.
    """
    weights = load_weights(checkpoint, network)
    weights = calibration.of(weights) if calibration else weights
    halves = {k: v.half() if v.dtype == torch.float32 else v for k, v in weights.items()}
    file = models / f"{overlay}.safetensors"
    _write(file, save({name: halves[name].contiguous() for name in sorted(halves)}))
    entry = {"file": file.name, "overlay": overlay, "sha256": sha256(file), **about}
    listed = weights_list(models.parent)
    if file.name not in [one["file"] for one in listed]:
        listed = [entry, *listed]
    listed = [entry if one["file"] == file.name else one for one in listed]
    _write(models.parent / LISTED, (json.dumps(listed, indent=2) + "\n").encode())
    return entry


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_bytes(content)
