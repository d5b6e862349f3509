"""A method as its bundle's ``inference.yaml`` describes it, with weights, ready to be asked."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from stroke_nets.errors import UsageError
from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.sliding_patch import FLIPS, PatchInferer, tile_starts
from stroke_nets.inference.weights import Weights
from stroke_nets.training.checkpoint import load_weights

FAST_STEP = 0.75  # of a patch, in place of 0.5: fewer tiles
LEFT_RIGHT = [(), (2,)]  # of B x 1 x X x Y x Z: a stack's slices keep their order

Flip = tuple[int, ...]


class Method:
    """One network and everything around it.

    Args:
        weights: of the method.
        device: where the network runs.
        fast: no flips, and patches further apart.
        tta: test-time augmentation: whole volumes are flipped, each flip gives a sample.

    Raises:
        UsageError: the bundle describes no single network, or the weights are missing.
        DataError: the weights are of another network.
    """

    def __init__(
        self, weights: Weights, device: torch.device, fast: bool = False, tta: bool = False
    ) -> None:
        """Build the network and read its weights."""
        self.weights, self.device = weights, device
        config = read_config(weights)
        if fast or tta:
            _without_flips(config["inferer"], fast)
        self.threshold = _cut_postprocessing(config)
        parser = ConfigParser(config)
        self.preprocessing, self.inferer, self.postprocessing = (
            parser.get_parsed_content(name)
            for name in ("preprocessing", "inferer", "postprocessing")
        )
        self.amp = device.type == "cuda" and bool(parser.get_parsed_content("amp"))
        network = parser.get_parsed_content("network_def")
        network.load_state_dict(load_weights(weights.file, network))
        self.network = network.eval().to(device)
        self.stack = (config.get("batch_size", 1), config.get("size", 1))
        self.spacing = config.get("spacing") or (1.0, 1.0, 1.0)  # mm of the patches' grid
        eight = FLIPS if isinstance(self.inferer, PatchInferer) else LEFT_RIGHT
        self.flips: Sequence[Flip] = eight if tta else [()]
        self.on_call: Callable[[float], object] = lambda seconds: None
        self.call_seconds = 0.0

    @torch.inference_mode()
    def samples(self, scan: Path) -> Iterator[Tensor]:
        """Probabilities of lesion on a scan's own grid, X x Y x Z, one for each flip.

        Args:
            scan: T1w scan on the template's grid.

        Raises:
            DataError: the scan cannot be used.
        """
        data = self.preprocessing({"image": str(scan)})
        volume = data["image"].as_tensor()[None].to(self.device)
        for axes in self.flips:
            with torch.autocast(self.device.type, enabled=self.amp):
                swept = self.inferer(volume.flip(axes), self._call).flip(axes)
            one = {"image": data["image"], "pred": swept[0].float().cpu()}
            yield self.postprocessing(one)["pred"].as_tensor()[0]

    def _call(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.network(inputs)
        self.on_call(self.call_seconds)
        return result

    def to(self, device: torch.device) -> None:
        """Run elsewhere from now on."""
        self.device, self.amp = device, False
        self.network.to(device)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of what the network is called with."""
        if isinstance(self.inferer, PatchInferer):
            return (1, 1, *self.inferer.patch_size)
        batch, size = self.stack
        return (batch, len(self.inferer.offsets), size, size)

    def calls(self, shape: Sequence[int]) -> int:
        """How often the network is called for a scan of that shape at 1 mm, about."""
        if isinstance(self.inferer, SliceStackInferer):
            one = math.ceil(shape[2] / self.inferer.batch_size)
        else:
            scaled = (round(n / mm) for n, mm in zip(shape, self.spacing, strict=True))
            sides = zip(scaled, self.inferer.patch_size, strict=True)
            starts = (tile_starts(n, patch, self.inferer.step) for n, patch in sides)
            one = len(list(itertools.product(*starts))) * len(self.inferer.flips)
        return one * len(self.flips)

    @torch.inference_mode()
    def expected_seconds(self, shape: Sequence[int]) -> float:
        """The time that a scan of that shape will take, by measured calls of the network."""
        if not self.call_seconds:
            self.call_seconds = min(self._timed_call() for _ in range(2))  # the first warms up
        return self.call_seconds * self.calls(shape)

    def _timed_call(self) -> float:
        example = torch.zeros(self.example_shape, device=self.device)
        begin = time.perf_counter()
        with torch.autocast(self.device.type, enabled=self.amp):
            self.network(example)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin


def read_config(weights: Weights) -> dict[str, Any]:
    """A bundle's ``inference.yaml`` with the overlay and settings of the weights' training.

    Raises:
        UsageError: the bundle describes no single network.
    """
    files = [weights.bundle / "configs" / "inference.yaml", *weights.overlay]
    config: dict[str, Any] = ConfigParser.load_config_files([str(file) for file in files])
    config |= {key: value for key, value in weights.settings.items() if key in config}
    if "@checkpoint" not in str(config.get("weights")):
        raise UsageError(
            f"--method {weights.bundle.name}: no single network with one checkpoint; name the "
            "members of an ensemble instead, as --method A,B"
        )
    return config


def _without_flips(inferer: dict[str, Any], fast: bool) -> None:
    """Leave flips to whole volumes (``tta``) or out (``fast``, with fewer tiles)."""
    if "flips" in inferer:
        inferer["flips"] = False
        if fast:
            inferer["step"] = FAST_STEP


def _cut_postprocessing(config: dict[str, Any]) -> float:
    """Keep what makes probabilities on the scan's grid; the threshold that follows."""
    steps = config["postprocessing"]["transforms"]
    names = [step["_target_"].rpartition(".")[2] for step in steps]
    last = names.index("AsDiscreted")
    config["postprocessing"]["transforms"] = steps[:last]
    return float(steps[last]["threshold"])
