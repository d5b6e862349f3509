"""One case after the other: placed, segmented, carried back, written."""

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import monai
import torch

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference import outputs
from stroke_nets.inference.doubts import require_memory
from stroke_nets.inference.inputs import (
    ScanFile,
    contrast_by_name,
    find_scans,
    of_participants,
)
from stroke_nets.inference.method import Method, contrast_of, find
from stroke_nets.inference.progress import Steps
from stroke_nets.inference.weights import choose
from stroke_nets.pages.cohort import write_index
from stroke_nets.pages.prediction_report import write_prediction_report
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.scans.contrast import DIFFUSION
from stroke_nets.scans.dicom_series import is_series
from stroke_nets.scans.reader import Scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionOptions:
    """How to predict.

    Attributes:
        fast: one pass, patches further apart.
        tta: flip whole volumes; gives an uncertainty.
        space: where the results lie.
        skip_registration: the scans lie in MNI space already, on whatever grid.
        overwrite: results that are there.
        backend: what runs the network, as the bundles' ``backend``; None: as they say.
        precision: as the bundles' ``precision``; None: as they say.
        threshold: probability from which on a voxel is lesion; None: as the method says.
        minimum_ml: volume below which a lesion is left out; None: as the method says.
        truth: a mask on the grid of the one scan, which the report and the viewer show as well.
        adc: the ADC map of the one scan, for a method of diffusion; None: the one beside it.
        like: write the mask in the scan's format as well, if it is not NIfTI.
        sr: write a DICOM report of the volumes beside the Segmentation of a DICOM scan.
    """

    fast: bool = False
    tta: bool = False
    space: Literal["native", "mni"] = "native"
    skip_registration: bool = False
    overwrite: bool = False
    backend: str | None = None
    precision: str | None = None
    threshold: float | None = None
    minimum_ml: float | None = None
    truth: Path | None = None
    adc: Path | None = None
    sr: bool = False
    like: bool = False

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.fast and self.tta:
            raise UsageError("--fast and --tta exclude each other; give one")
        if self.space not in ("native", "mni"):
            raise UsageError(f"--space {self.space}: choose native or mni")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UsageError(f"--threshold {self.threshold}: give a probability between 0 and 1")
        if self.minimum_ml is not None and not 0 <= self.minimum_ml < math.inf:
            raise UsageError(f"--minimum-ml {self.minimum_ml}: give 0 or more millilitres")
        if self.truth and self.space == "mni":
            raise UsageError("--truth lies on the scan's grid; leave --space mni out")


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
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """Segment the stroke lesions of T1w scans, or of DWI with or without ADC.

    Args:
        given: a scan, a folder of scans, a BIDS tree, or a folder or zip archive of DICOM.
        out: folder to write, see `stroke_nets.inference.outputs`.
        method: names of bundles; several make an ensemble. By default, of those with published
            weights for the scans' contrast, which their names tell, the best on real scans.
        checkpoint: one file for each method, in place of the published weights.
        overlay: of the weights' training; by default, of a checkpoint, what its run folder says.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        quiet: print nothing and show no progress.
        trust: use a checkpoint whose run folder names a network from elsewhere.
        participants: labels of those to segment in a BIDS tree; none: all.
        sessions: labels of their sessions; none: all.
        options: fields of `PredictionOptions`.

    Returns:
        What ``summary.json`` holds.

    Raises:
        UsageError: there are no scans or weights, or an option cannot be.
        DataError: some scans failed; it names each, and all others are written.
        OSError: ``out`` cannot be written.
    """
    given, out, chosen = Path(given), Path(out), PredictionOptions(**options)
    names = (method.split(",") if isinstance(method, str) else method) or ()
    files = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    named = DIFFUSION if chosen.adc else contrast_by_name(given, out)
    weights = choose(names, [Path(file) for file in files], overlay, trust, named)
    contrast = contrast_of(weights)
    scans = of_participants(find_scans(given, out, contrast), participants, sessions)
    if chosen.adc:
        scans = [_with_adc(scans, chosen.adc)]
    if chosen.truth and len(scans) > 1:
        raise UsageError(f"--truth {chosen.truth}: there are {len(scans)} scans; give one")
    if chosen.sr and not is_series(scans[0].path):
        raise UsageError(f"--sr: {given} is no DICOM, of which alone it reports; leave it out")
    if chosen.fast and len(weights) > 1:
        raise UsageError("--fast: runs one method; give one, or leave --fast out")
    where = find_device(device)
    scans = outputs.describe_folder(out, scans)
    with Steps(len(scans), quiet) as steps:
        for one in weights:
            steps.step(f"loading the weights of {one.title}")
        how: dict[str, Any] = {
            "fast": chosen.fast,
            "tta": chosen.tta,
            "register": not chosen.skip_registration,
            "backend": chosen.backend,
            "precision": chosen.precision,
            "threshold": chosen.threshold,
            "minimum_ml": chosen.minimum_ml,
        }
        methods = [Method(one, where, **how) for one in weights]
        failed = Prediction(out, methods, chosen, steps).run(scans)
    summary = outputs.write_summary(out, failed)
    write_index(out)
    if failed:
        head = f"{len(failed)} of {len(scans)} scans failed; what could be done is in {out}"
        raise DataError("\n".join([head, *(f"{f['input']}: {f['error']}" for f in failed)]))
    return summary


def _with_adc(scans: Sequence[ScanFile], adc: Path) -> ScanFile:
    """The one scan of diffusion, with its ADC map.

    Raises:
        UsageError: there are several scans, the method takes no ADC, or there is no such file.
    """
    if len(scans) > 1 or scans[0].contrast != DIFFUSION:
        why = f"there are {len(scans)} scans" if len(scans) > 1 else "the method is of T1w scans"
        raise UsageError(f"--adc {adc}: {why}; give it with one scan and an overlay of diffusion")
    if not adc.is_file():
        raise UsageError(f"--adc {adc}: no such file; give the ADC map of the scan")
    return replace(scans[0], adc=adc)


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
        steps: is told how far the work is.
    """

    def __init__(
        self, out: Path, methods: Sequence[Method], options: PredictionOptions, steps: Steps
    ) -> None:
        """Remember what to do."""
        self.out, self.methods, self.options, self.steps = out, methods, options, steps
        self.label = outputs.label([one.weights.bundle.name for one in methods])

    def run(self, files: Sequence[ScanFile]) -> list[dict[str, str]]:
        """Predict every scan; those that fail are returned with the reason."""
        failed: list[dict[str, str]] = []
        for file in files:
            self.steps.scan(file.stem)
            try:
                self._one(file)
            except Exception as error:  # one bad scan of many: the others go on
                logger.debug("%s", file.path, exc_info=True)
                failed.append({"input": file.source, "error": reason(error, file.path, self.out)})
        return failed

    def _one(self, file: ScanFile) -> None:
        """Predict a scan and write its pages, unless the very same prediction is there."""
        names = outputs.Names(self.out, file, self.label, self.options.space == "mni")
        self.steps.step("reading")
        scan, adc = Scan(file.path), Scan(file.adc) if file.adc else None
        request, truth = self._request(scan, adc), self.options.truth
        shown: Path | outputs.Volumes | None = None
        if not is_done(names, request, self.options.overwrite):
            require_memory(scan, registered=not self.options.skip_registration)
            shown = self._predict(file, scan, adc, names, request)
        if truth or (shown is None and not names.report.exists()):
            shown = outputs.image_of(names, file)
        if shown is not None:
            self.steps.step("writing the report")
            write_prediction_report(names.sidecar, shown, truth)

    def _predict(
        self,
        file: ScanFile,
        scan: Scan,
        adc: Scan | None,
        names: outputs.Names,
        request: dict[str, Any],
    ) -> outputs.Volumes:
        begin = time.perf_counter()
        found = find(scan, self.methods, self.steps, adc)
        self.steps.step("writing the mask")
        facts = {
            "GeneratedBy": outputs.GENERATED_BY,
            "Notice": outputs.NOTICE,
            "Type": "Lesion",
            "Method": "+".join(one.weights.bundle.name for one in self.methods),
            "Weights": [one.weights.facts for one in self.methods],
            "Request": request,
            "Device": str(self.methods[0].device),
            "Backend": [one.backend for one in self.methods],
            "Versions": {"torch": torch.__version__, "monai": monai.__version__},
            "Seconds": round(time.perf_counter() - begin, 1),
        }
        results = outputs.Results(
            names, scan, found, self.methods[0], self.options.sr, self.options.like
        )
        return results.write(facts)

    def _request(self, scan: Scan, adc: Scan | None) -> dict[str, Any]:
        """What makes two predictions the same."""
        companions = {"adc_sha256": adc.digest} if adc else {}
        return companions | {
            "scan_sha256": scan.digest,
            "weights_sha256": [one.weights.facts["sha256"] for one in self.methods],
            "config_sha256": [one.weights.digest() for one in self.methods],
            "fast": self.options.fast,
            "tta": self.options.tta,
            "space": self.options.space,
            "skip_registration": self.options.skip_registration,
            "backend": [one.backend for one in self.methods],
            "version": stroke_nets.__version__,
            "sr": self.options.sr,
            "like": self.options.like,
            "threshold": [one.threshold for one in self.methods],
            "minimum_ml": [one.minimum_ml for one in self.methods],
        }


def reason(error: Exception, scan: Path, out: Path) -> str:
    """Why a scan failed, without its own name and without the folders it and its outputs lie in."""
    known = find_error(error)
    text = str(known) if known else f"{type(error).__name__}: {error}"
    text = text.removeprefix(f"{scan}: ")
    for folder in {scan.parent, scan.absolute().parent, out, out.absolute()}:
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def is_done(names: outputs.Names, request: dict[str, Any], overwrite: bool) -> bool:
    """Whether the very same prediction is there already; one without its sidecar is unfinished.

    Raises:
        UsageError: another one is.
    """
    present = [path for path in names.present() if outputs.is_sidecar(path)]
    if overwrite or not present:
        return False
    known = outputs.read_sidecar(names.sidecar if names.sidecar in present else present[0])
    if names.sidecar in present and known["Request"] == request:
        return True
    if known["Request"].get("scan_sha256") != request["scan_sha256"]:
        raise UsageError(
            f"{present[0]} is of another scan of this name; rename this one or give another OUT "
            "(--overwrite replaces the other scan's results)"
        )
    raise UsageError(f"{present[0]} is there already; give --overwrite or another OUT")
