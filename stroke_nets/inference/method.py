"""A method as its bundle's ``inference.yaml`` describes it, with weights, ready to be asked."""

import copy
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SaveImaged
from torch import Tensor

from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.backend import described
from stroke_nets.inference.progress import Steps
from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.sliding_patch import FLIPS, PatchInferer, tile_starts
from stroke_nets.inference.weights import CARRIED, Weights, is_number
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.reader import Scan
from stroke_nets.training.weights import load_weights

FAST_STEP = 0.75  # of a patch, instead of 0.5: fewer tiles
LEFT_RIGHT = [(), (2,)]  # of B x 1 x X x Y x Z: a stack's slices keep their order

Flip = tuple[int, ...]
NOBODY = Steps(0, quiet=True)


@dataclass(frozen=True)
class Found:
    """What methods found in a scan, on the scan's own grid.

    Attributes:
        probability: of lesion, X x Y x Z.
        deviation: standard deviation over flips or methods, if there are several; X x Y x Z.
        registration: onto the template; None if the scan was taken as it is.
    """

    probability: Tensor
    deviation: Tensor | None = None
    registration: OnTemplate | None = None


class Method:
    """One network and everything around it: what a bundle's ``run inference`` does, in parts.

    Args:
        weights: of the method.
        device: where the network runs.
        fast: no flips, and patches further apart.
        tta: test-time augmentation: whole volumes are flipped, each flip gives a sample.
        register: bring scans to the template's grid, unless they lie there.
        settings: further settings of the bundle's configuration, such as ``backend`` and
            ``precision``; None: the bundle's own.

    Raises:
        UsageError: the bundle describes no single network, the weights are missing, or ``fast``
            would change nothing.
        DataError: the weights are of another network, or nothing can be built of the training's
            settings.
    """

    def __init__(
        self,
        weights: Weights,
        device: torch.device,
        *,
        fast: bool = False,
        tta: bool = False,
        register: bool = True,
        threshold: float | None = None,
        minimum_ml: float | None = None,
        **settings: Any,
    ) -> None:
        """Build the network and read its weights."""
        self.weights, self.device = weights, device
        config = read_config(weights) | {"register": register}
        config |= _given(settings)
        config["to_mask"] |= _given({"threshold": threshold, "minimum_ml": minimum_ml})
        if fast or tta:
            _without_flips(config["inferer"], fast, weights.bundle.name)
        try:
            self._build(config)
        except Exception as error:  # a run's settings may be anything
            if not weights.settings or find_error(error):
                raise
            raise DataError(
                f"--checkpoint {weights.file}: nothing can be built of its training's config.yaml "
                f"({type(error).__name__}); restore it, or give --overlay"
            ) from error
        self.run_by = (config["backend"], config["precision"])
        self.stack = (config.get("batch_size", 1), config.get("size", 1))
        self.spacing = config.get("spacing") or (1.0, 1.0, 1.0)  # mm of the patches' grid
        eight = FLIPS if isinstance(self.inferer, PatchInferer) else LEFT_RIGHT
        self.flips: Sequence[Flip] = eight if tta else [()]

    def _build(self, config: dict[str, Any]) -> None:
        """Everything that the configuration describes.

        The network takes no memory until the file is known to hold its weights.
        """
        with torch.device("meta"):
            outline = ConfigParser(copy.deepcopy(config)).get_parsed_content("network_def")
        state = load_weights(self.weights.file, outline)
        parser = ConfigParser(config)
        self.preprocessing, self.inferer, self.sweep, after = (
            parser.get_parsed_content(name)
            for name in ("preprocessing", "inferer", "compiled_inferer", "postprocessing")
        )
        self.activation, self.invert, self.to_mask = _parts(after)
        self.amp = self.device.type == "cuda" and bool(parser.get_parsed_content("amp"))
        network = parser.get_parsed_content("network_def")
        network.load_state_dict(state)
        self.network = network.eval().to(self.device)

    @torch.inference_mode()
    def find(self, scan: Scan, steps: Steps = NOBODY, adc: Scan | None = None) -> Found:
        """Segment a scan.

        Args:
            scan: T1w scan, or what the method's ``contrast`` says.
            steps: is told how far the work is.
            adc: the ADC map of a diffusion-weighted scan, on its grid.

        Raises:
            DataError: the scan cannot be used, or its probabilities are not finite.
        """
        name = self.weights.bundle.name
        steps.step(f"{name}: registration and preprocessing")
        data = self.preprocessing({"image": scan} | _given({"adc": adc}))
        steps.step(f"{name}: segmentation")
        mean, deviation = spread(self._samples(data["image"], steps))
        if not torch.isfinite(mean).all():
            raise DataError(
                f"{scan.path}: {self.weights.file} gives probabilities that are not finite; the "
                "weights are damaged, or --precision float32 is needed"
            )
        steps.step(f"{name}: back to the scan's grid")
        image = data["image"]
        doubt = None if deviation is None else self._inverted(image, deviation)
        return Found(self._inverted(image, mean), doubt, OnTemplate.of(image))

    def _samples(self, image: MetaTensor, steps: Steps) -> Iterator[Tensor]:
        """Probabilities of lesion on the network's grid, 1 x D x H x W, one for each flip."""
        volume = image.as_tensor()[None].to(self.device)
        count = len(self.flips)
        for number, axes in enumerate(self.flips):
            self.inferer.on_tile = lambda done, total, n=number: steps.tile(
                n * total + done, count * total
            )
            with torch.autocast(self.device.type, enabled=self.amp):
                swept = self.sweep(volume.flip(axes), self.network).flip(axes)
            one = {"image": image, "pred": swept[0].float().cpu()}
            yield torch.as_tensor(self.activation(one)["pred"])

    def _inverted(self, image: MetaTensor, pred: Tensor) -> Tensor:
        back: Tensor = self.invert({"image": image, "pred": MetaTensor(pred)})["pred"].as_tensor()[
            0
        ]
        return back

    def mask(self, probability: Tensor, affine: Any) -> Tensor:
        """The mask, X x Y x Z, uint8: the bundle's threshold and minimum size.

        Args:
            probability: X x Y x Z.
            affine: of its grid, mm.
        """
        pred = MetaTensor(probability[None], affine=torch.as_tensor(affine))
        found: Tensor = self.to_mask({"pred": pred})["pred"].as_tensor()[0]
        return found.to(torch.uint8)

    @property
    def threshold(self) -> float:
        """From which probability on a voxel is lesion."""
        return float(self.to_mask.transforms[0].threshold)

    @property
    def minimum_ml(self) -> float:
        """The volume below which a lesion is left out."""
        return float(self.to_mask.transforms[0].minimum_ml)

    @property
    def backend(self) -> str:
        """What the network runs by, such as ``openvino, bfloat16``."""
        return described(*self.run_by, self.device)

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
        self._timed_sweep()  # compiles, and warms up
        clock, calls = self._timed_sweep()
        return clock / calls * self.calls(shape)

    def _timed_sweep(self) -> tuple[float, int]:
        """Seconds of a sweep over a small volume of noise, and how often it calls the network."""
        if isinstance(self.inferer, PatchInferer):
            sides, calls = self.inferer.patch_size, len(self.inferer.flips)
        else:
            batch, size = self.stack
            sides, calls = (size, size, batch), 1
        first = next(p for p in self.network.parameters() if p.dim() > 2)
        channels = first.shape[1] if isinstance(self.inferer, PatchInferer) else 1
        noise = torch.randn(1, channels, *sides, device=self.device)
        begin = time.perf_counter()
        with torch.autocast(self.device.type, enabled=self.amp):
            self.sweep(noise, self.network).cpu()  # waits for a GPU
        return time.perf_counter() - begin, calls


def find(
    scan: Scan, methods: Sequence[Method], steps: Steps = NOBODY, adc: Scan | None = None
) -> Found:
    """What several methods find on average, and how much they differ.

    With one method, the flips' mean and deviation.
    """
    if len(methods) == 1:
        return methods[0].find(scan, steps, adc)
    each = [one.find(scan, steps, adc) for one in methods]
    mean, deviation = spread(one.probability for one in each)
    return Found(mean, deviation, each[0].registration)


def spread(samples: Iterable[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation (of the population) by Welford's rule, one sample in memory.

    Returns:
        The mean; the standard deviation, or None of a single sample.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for count, sample in enumerate(samples, 1):
        if count == 1:
            mean = sample
            continue
        step = sample - mean
        mean = mean + step / count
        squares = squares + step * (sample - mean)
    return mean, (squares / count).clamp(min=0).sqrt() if count > 1 else None


def read_config(weights: Weights) -> dict[str, Any]:
    """A bundle's ``inference.yaml`` with the overlay and settings of the weights' training.

    Raises:
        UsageError: the bundle describes no single network.
        DataError: a setting of the training is impossible.
    """
    files = [weights.bundle / "configs" / "inference.yaml", *weights.overlay]
    config: dict[str, Any] = ConfigParser.load_config_files([str(file) for file in files])
    for key, value in weights.settings.items():
        if key in config:
            _require_alike(weights.file, key, value, config[key])
            config[key] = value
    if "@checkpoint" not in str(config.get("weights")):
        raise UsageError(
            f"--method {weights.bundle.name}: no single network with one checkpoint; name the "
            "members of an ensemble instead, as --method A,B"
        )
    return config


def _require_alike(file: Path, key: str, value: Any, own: Any) -> None:
    """Refuse what cannot stand in the place of a bundle's own setting."""
    numbers, owns = (one if isinstance(one, list) else [one] for one in (value, own))
    if key in CARRIED and not is_number(value):
        return
    possible = bool(numbers) and all(map(math.isfinite, numbers))
    if possible and owns and is_number(own):
        possible = all(isinstance(value, kind) == isinstance(own, kind) for kind in (list, bool))
        possible = possible and (isinstance(own, bool) or min(numbers) > 0 or min(owns) <= 0)
    word = isinstance(own, str) and own[:1] not in "$@%"
    if isinstance(own, dict) or word or not possible:
        raise DataError(
            f"--checkpoint {file}: the {key} of its training's config.yaml, {str(value)[:100]}, is "
            "impossible; restore it, or give --overlay"
        )


def contrast_of(weights: Sequence[Weights]) -> str:
    """The contrast of the scans that methods segment: ``T1w`` or ``diffusion``.

    Raises:
        UsageError: they segment scans of different contrasts, or one describes no single network.
    """
    found = {read_config(one).get("contrast", T1W) for one in weights}
    if len(found) > 1:
        raise UsageError(f"--method: of several contrasts ({', '.join(sorted(found))}); give one")
    return str(found.pop())


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {key: value for key, value in settings.items() if value is not None}


def _without_flips(inferer: dict[str, Any], fast: bool, name: str) -> None:
    """Leave flips to whole volumes (``tta``) or out (``fast``, with fewer tiles)."""
    if "flips" in inferer:
        inferer["flips"] = False
        if fast:
            inferer["step"] = FAST_STEP
    elif fast:
        raise UsageError(
            f"--fast: {name} sees each slice once, there is nothing to leave out; omit --fast"
        )


def _parts(postprocessing: Compose) -> tuple[Compose, Compose, Compose]:
    """What leads to probabilities, back to the scan's grid, and to the mask; nothing is saved."""
    steps = [one for one in postprocessing.transforms if not isinstance(one, SaveImaged)]
    there = next(i for i, one in enumerate(steps) if isinstance(one, Invertd))
    return Compose(steps[:there]), Compose(steps[there : there + 1]), Compose(steps[there + 1 :])
