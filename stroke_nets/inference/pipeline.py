"""One case after the other: placed, segmented, carried back, written."""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import monai
import torch
from torch import Tensor
from tqdm import tqdm

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference import outputs
from stroke_nets.inference.inputs import Scan, find_scans
from stroke_nets.inference.method import Method
from stroke_nets.inference.space import place
from stroke_nets.inference.time_estimate import REGISTERING_SECONDS, expect
from stroke_nets.inference.weights import choose
from stroke_nets.pages.cohort import write_index
from stroke_nets.pages.prediction_report import write_prediction_report
from stroke_nets.registration.volume import brain
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.scans.reader import sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to predict.

    Attributes:
        fast: one pass, patches further apart.
        tta: flip whole volumes; gives an uncertainty.
        space: where the results lie.
        skip_registration: the scans lie in MNI space already, on whatever grid.
        overwrite: results that are there.
    """

    fast: bool = False
    tta: bool = False
    space: Literal["native", "mni"] = "native"
    skip_registration: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.fast and self.tta:
            raise UsageError("--fast and --tta exclude each other; give one")
        if self.space not in ("native", "mni"):
            raise UsageError(f"--space {self.space}: choose native or mni")


def predict(
    given: str | Path,
    out: str | Path,
    *,
    method: str | Sequence[str] | None = None,
    checkpoint: str | Path | Sequence[str | Path] = (),
    overlay: str | None = None,
    device: str = "auto",
    quiet: bool = True,
    trust: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Segment the stroke lesions of T1w scans.

    Args:
        given: a scan, a folder of scans or a BIDS tree.
        out: folder to write, see `stroke_nets.inference.outputs`.
        method: names of bundles; several make an ensemble. By default, of those with published
            weights, the best on the one real scan tried.
        checkpoint: one file for each method, in place of the published weights.
        overlay: of the checkpoint's training; by default what its run folder says.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        quiet: print nothing and show no progress.
        trust: use a checkpoint whose run folder names a network from elsewhere.
        options: fields of `Options`.

    Returns:
        What ``summary.json`` holds.

    Raises:
        UsageError: there are no scans or weights, or an option cannot be.
        DataError: some scans failed; it names each, and all others are written.
    """
    given, out, chosen = Path(given), Path(out), Options(**options)
    names = (method.split(",") if isinstance(method, str) else method) or ()
    files = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    scans = find_scans(given, out)
    weights = choose(names, [Path(file) for file in files], overlay, trust)
    if chosen.fast and len(weights) > 1:
        raise UsageError("--fast: runs one method; give one, or leave --fast out")
    where = find_device(device)
    outputs.describe_folder(out)
    methods = [Method(one, where, chosen.fast, chosen.tta) for one in weights]
    failed = Prediction(out, methods, chosen).run(scans, quiet)
    summary = outputs.write_summary(out, failed)
    write_index(out)
    if failed:
        head = f"{len(failed)} of {len(scans)} scans failed; what could be done is in {out}"
        raise DataError("\n".join([head, *(f"{f['input']}: {f['error']}" for f in failed)]))
    return summary


def find_device(name: str) -> torch.device:
    """The device that a name stands for.

    Raises:
        UsageError: it is none, or is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: no such GPU here; say --device cpu")
    return device


class Prediction:
    """Scans to masks, by the same methods.

    Args:
        out: the output folder.
        methods: at least one.
        options: how.
    """

    def __init__(self, out: Path, methods: Sequence[Method], options: Options) -> None:
        """Remember what to do."""
        self.out, self.methods, self.options = out, methods, options
        self.label = outputs.label([one.weights.bundle.name for one in methods])

    def run(self, scans: Sequence[Scan], quiet: bool) -> list[dict[str, str]]:
        """Predict every scan; those that fail are returned with the reason.

        Args:
            scans: to predict.
            quiet: print nothing.
        """
        failed: list[dict[str, str]] = []
        self.template = brain()
        with self._bar(len(scans), quiet) as self.bar:
            for scan in scans:
                self.bar.set_description(scan.subject)
                try:
                    self._one(scan)
                except Exception as error:  # one bad scan of many: the others go on
                    logger.debug("%s", scan.path, exc_info=True)
                    known = find_error(error)
                    text = str(known) if known else f"{type(error).__name__}: {error}"
                    text = text.removeprefix(f"{scan.path}: ").replace(f"{self.out}{os.sep}", "")
                    failed.append({"input": scan.source, "error": text})
        return failed

    def _bar(self, scans: int, quiet: bool) -> tqdm:
        if quiet:
            return tqdm(disable=True)
        expected = expect(self.methods, scans, self.options.skip_registration)
        for one in self.methods:
            print(f"weights of {one.weights.title}")
        print(expected, flush=True)
        bar = expected.bar()
        for one in self.methods:
            one.on_call = bar.update
        return bar

    def _one(self, scan: Scan) -> None:
        """Predict a scan and write its pages, unless the very same prediction is there."""
        names = outputs.Names(self.out, scan, self.label, self.options.space == "mni")
        request = self._request(scan)
        if not is_done(names, request, self.options.overwrite):
            self._predict(scan, names, request)
        if not names.report.exists():
            write_prediction_report(names.sidecar, outputs.image_of(names, scan))

    def _predict(self, scan: Scan, names: outputs.Names, request: dict[str, Any]) -> None:
        begin = time.perf_counter()
        skip, overwrite = self.options.skip_registration, self.options.overwrite
        placed = place(scan, names.folder, self.template, skip, overwrite)
        if placed.transform is not None:
            self.bar.update(REGISTERING_SECONDS)
        mean, deviation = self._segment(placed.image, placed.warnings)
        facts = {
            "GeneratedBy": outputs.GENERATED_BY,
            "Notice": outputs.NOTICE,
            "Type": "Lesion",
            "Method": "+".join(one.weights.bundle.name for one in self.methods),
            "Weights": [one.weights.facts for one in self.methods],
            "Request": request,
            "Sources": [scan.source],
            "Device": str(self.methods[0].device),
            "Versions": {"torch": torch.__version__, "monai": monai.__version__},
            "Seconds": round(time.perf_counter() - begin, 1),
        }
        maps = {"probseg": mean} | ({} if deviation is None else {"uncertainty": deviation})
        arrays = {name: volume.numpy() for name, volume in maps.items()}
        case = outputs.Case(names, placed, self.template, self.methods[0].threshold)
        case.write(arrays, facts)

    def _request(self, scan: Scan) -> dict[str, Any]:
        """What makes two predictions the same."""
        return {
            "scan_sha256": sha256(scan.path),
            "weights_sha256": [one.weights.facts["sha256"] for one in self.methods],
            "config_sha256": [one.weights.digest() for one in self.methods],
            "fast": self.options.fast,
            "tta": self.options.tta,
            "space": self.options.space,
            "skip_registration": self.options.skip_registration,
            "version": stroke_nets.__version__,
        }

    def _segment(self, image: Path, warnings: list[str]) -> tuple[Tensor, Tensor | None]:
        """Segment on the device; on the CPU, from then on, if its memory does not suffice."""
        try:
            return segment(image, self.methods)
        except torch.cuda.OutOfMemoryError:
            warnings.append("the GPU's memory did not suffice; segmented on the CPU")
            for one in self.methods:
                one.to(torch.device("cpu"))
            return segment(image, self.methods)


def is_done(names: outputs.Names, request: dict[str, Any], overwrite: bool) -> bool:
    """Whether the very same prediction is there already.

    Raises:
        UsageError: another one is.
    """
    present = names.present()
    if overwrite or not present:
        return False
    if names.sidecar in present and outputs.read_sidecar(names.sidecar)["Request"] == request:
        return True
    raise UsageError(f"{present[0]} is there already; give --overwrite or another OUT")


def segment(image: Path, methods: Sequence[Method]) -> tuple[Tensor, Tensor | None]:
    """The mean probability of lesion, and how much the samples differ if there are several.

    With several methods each one's mean is a sample; with one, each flip.

    Args:
        image: on the template's grid, or as the methods shall read it.
        methods: at least one.

    Returns:
        Mean and standard deviation, X x Y x Z, on the image's grid.
    """
    samples: Iterable[Tensor] = (spread(one.samples(image))[0] for one in methods)
    if len(methods) == 1:
        samples = methods[0].samples(image)
    return spread(samples)


def spread(samples: Iterable[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation (of the population) by Welford's rule, one sample in memory.

    Returns:
        The mean; the standard deviation, or None of a single sample.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for count, sample in enumerate(samples, 1):
        step = sample - mean
        mean = mean + step / count
        squares = squares + step * (sample - mean)
    return mean, (squares / count).clamp(min=0).sqrt() if count > 1 else None
