"""Evaluate the shipped weights on held-out simulated patients and on unseen real scans.

    python examples/try_weights.py simulated OUT DATA  # the patients of DATA/report.json
    python examples/try_weights.py arc OUT DATA        # T1w of arc/sub-M2051, registered
    python examples/try_weights.py isles OUT DATA      # DWI of isles22/sub-strokecase*

Each writes a table (CSV), a summary (JSON) and pictures (PNG) into OUT. Further arguments
BUNDLE=FILE select weights other than the shipped ones. A handful of scans says nothing about
clinical accuracy.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import matplotlib
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from stroke_nets.datasets.manifest import datalist
from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.lesions import BINS, lesion_figures, volume_bin
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.pipeline import Files, normalize
from stroke_nets.registration.transform import load
from stroke_nets.registration.volume import read

BUNDLES = Path(__file__).parents[1] / "bundles"
LEFT_RIGHT = {"agmr_net": 2, "mscsa_default": 4}  # axis of the network's input batch
SMALL = 1000  # voxels
Array = np.ndarray


class Method:
    """A bundle with weights: maps a scan's file to probabilities on its grid."""

    def __init__(self, bundle: str, weights: str, flips: bool = False) -> None:
        """Take the names of bundle and weights, and whether to average left-right flips."""
        parser, folder = ConfigParser(), BUNDLES / bundle
        parser.read_config([folder / "configs" / f for f in ("inference.yaml", "narrow.yaml")])
        parser["checkpoint"] = weights if "/" in weights else str(folder / "models" / weights)
        parser["device"] = "cpu"
        part = parser.get_parsed_content
        part("weights")
        self.network = part("network").eval()
        self.preprocessing, self.inferer = part("preprocessing"), part("inferer")
        self.back = Compose(part("postprocessing").transforms[:2])  # to probabilities on the scan
        self.axes = [(), (LEFT_RIGHT[bundle],)] if flips else [()]

    def __call__(self, scan: Path) -> Array:
        """Probabilities (X, Y, Z)."""
        data = self.preprocessing({"image": str(scan)})
        with torch.inference_mode():
            seen = data["image"][None]
            found = [self.inferer(seen.flip(a), self.network).flip(a)[0] for a in self.axes]
        maps = [self.back({"image": data["image"], "pred": pred})["pred"][0] for pred in found]
        return np.mean([np.asarray(m) for m in maps], axis=0)


@dataclass
class Case:
    """A scan and its truth."""

    name: str
    scan: Path
    truth: Array
    voxel_mm: tuple[float, ...]


def simulated_cases(data: Path) -> Iterator[Case]:
    """The held-out patients, whose lesion shapes were not used in training."""
    for case in datalist(str(data), "all", manifest=str(data / "report.json")):
        truth = np.asanyarray(nib.load(case["label"]).dataobj) > 0
        yield Case(case["record"]["subject"], Path(case["image"]), truth, (1.0, 1.0, 1.0))


def arc_case(data: Path, out: Path) -> Case:
    """The ARC patient and its mask on the template's grid, registered once."""
    anat = data / "arc" / "sub-M2051" / "anat"
    scan = anat / "sub-M2051_T1w.nii.gz"
    files = Files.of(scan, out / "mni")
    if not files.image.exists():
        normalize(scan, out / "mni")
    mask = read(anat / "sub-M2051_label-lesion_mask.nii.gz")
    there = OnTemplate(load(files.transform)[0].matrix)
    truth = there.carry(mask.voxels, mask.affine) > 0.5
    return Case("arc sub-M2051 T1w", files.image, truth, (1.0, 1.0, 1.0))


def isles_cases(data: Path) -> Iterator[Case]:
    """The four ISLES 2022 patients: DWI."""
    for scan in sorted((data / "isles22").glob("*/*_dwi.nii.gz")):
        mask = nib.load(str(scan).replace("_dwi", "_msk"))
        spacing = tuple(float(mm) for mm in mask.header.get_zooms()[:3])
        yield Case(f"isles22 {scan.parent.name} DWI", scan, np.asarray(mask.dataobj) > 0, spacing)


def measure(case: Case, method: str, probability: Array) -> dict[str, Any]:
    """One row: the case's metrics, and its lesions under 1000 voxels."""
    mask = probability > 0.5
    figures = case_metrics(mask, case.truth, case.voxel_mm)
    kept = ("dice", "recall", "precision", "truth_ml", "predicted_ml", "lesion_f1")
    small = lesion_figures(mask, _small_only(case.truth), np.prod(case.voxel_mm) / 1000, 6)
    count = small["lesions_truth"]
    found = round(small["lesion_recall"] * count) if count else 0
    row = {"case": case.name, "method": method, **{k: figures[k] for k in kept}}
    return row | {"small": count, "small_found": found}


def _small_only(truth: Array) -> Array:
    """The lesions under 1000 voxels."""
    large = cc3d.dust(truth.astype(np.uint8), threshold=SMALL, connectivity=6)
    return truth & (large == 0)


class Calibration:
    """Frequency of lesion voxels by predicted probability, over all cases."""

    def __init__(self, bins: int = 10) -> None:
        """Start with empty bins."""
        self.edges = np.linspace(0, 1, bins + 1)
        self.voxels, self.lesion, self.sums = (np.zeros(bins) for _ in range(3))

    def add(self, probability: Array, truth: Array) -> None:
        """Count one case's voxels."""
        bins = np.clip(np.digitize(probability.ravel(), self.edges) - 1, 0, len(self.voxels) - 1)
        count = functools.partial(np.bincount, bins, minlength=len(self.voxels))
        self.voxels += count()
        self.lesion += count(weights=truth.ravel().astype(float))
        self.sums += count(weights=probability.ravel().astype(float))

    def summary(self) -> dict[str, Any]:
        """Mean probability and lesion frequency of each bin, and the expected calibration error.

        The error weights bins by their voxels above 0.01, to exclude certain background.
        """
        seen = np.maximum(self.voxels, 1)
        mean, share = self.sums / seen, self.lesion / seen
        weights = self.voxels[1:] / max(self.voxels[1:].sum(), 1)
        error = float((weights * np.abs(mean - share)[1:]).sum())
        return {
            "probability": mean.round(4).tolist(),
            "lesion_share": share.round(4).tolist(),
            "voxels": self.voxels.astype(int).tolist(),
            "error_above_0.1": round(error, 4),
        }


Methods = dict[str, Callable[[Path], Array]]


def together(
    methods: Methods, flips: Methods
) -> Iterator[tuple[str, list[Callable[[Path], Array]]]]:
    """The predictions to compare: each method, with and without left-right flips, and means."""
    for kind, chosen in (("", methods), (" + flip", flips)):
        yield from ((name + kind, [method]) for name, method in chosen.items())
        if len(chosen) > 1:
            yield "mean of both" + kind, list(chosen.values())


def run(cases: Iterator[Case], methods: Methods, flips: Methods, out: Path, name: str) -> None:
    """Predict every case with every method, write the rows, and draw each case."""
    rows, calibrations = [], {}
    for case in cases:
        known = {id(m): m(case.scan) for m in [*methods.values(), *flips.values()]}
        masks = {}
        for method, parts in together(methods, flips):
            probability = np.mean([known[id(part)] for part in parts], axis=0)
            rows.append(measure(case, method, probability))
            calibrations.setdefault(method, Calibration()).add(probability, case.truth)
            masks[method] = probability > 0.5
            print(rows[-1], flush=True)
        draw_case(case, masks, out / f"{name}_{case.name.replace(' ', '_')}.png")
    table = pd.DataFrame(rows)
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.4f")
    summary = {m: summarise(table[table.method == m], c) for m, c in calibrations.items()}
    (out / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    if len(table.case.unique()) > 4:
        draw_agreement(table, summary, out / f"{name}.png")


def summarise(table: pd.DataFrame, calibration: Calibration) -> dict[str, Any]:
    """Summarise one method: means, volume agreement, Dice by volume, small lesions, calibration."""
    sick = table[table.truth_ml > 0]
    difference = sick.predicted_ml - sick.truth_ml
    bins = sick.truth_ml.map(volume_bin)
    return {
        "cases": len(table),
        "dice": round(float(sick.dice.mean()), 4),
        "dice_median": round(float(sick.dice.median()), 4),
        "dice_by_volume": {
            b: [int((bins == b).sum()), round(float(sick.dice[bins == b].mean()), 3)]
            for b in BINS
            if (bins == b).any()
        },
        "healthy": int((table.truth_ml == 0).sum()),
        "false_ml_in_healthy": round(float(table.predicted_ml[table.truth_ml == 0].sum()), 3),
        "volume_bias_ml": round(float(difference.mean()), 2),
        "volume_limits_ml": [
            round(float(difference.mean() + k * 1.96 * difference.std()), 2) for k in (-1, 1)
        ],
        "small_lesions": int(table.small.sum()),
        "small_lesions_found": int(table.small_found.sum()),
        "calibration": calibration.summary(),
    }


def draw_agreement(table: pd.DataFrame, summary: dict[str, Any], file: Path) -> None:
    """Draw a Bland-Altman plot of the volumes, Dice by volume, and calibration."""
    from matplotlib import pyplot

    figure, (volumes, dice, curve) = pyplot.subplots(1, 3, figsize=(12, 3.8))
    for method, rows in table[table.truth_ml > 0].groupby("method", sort=False):
        mean = (rows.truth_ml + rows.predicted_ml) / 2
        volumes.plot(mean, rows.predicted_ml - rows.truth_ml, "o", ms=3, label=method)
        dice.plot(rows.truth_ml, rows.dice, "o", ms=3, label=method)
        found = summary[method]["calibration"]
        curve.plot(found["probability"], found["lesion_share"], "o-", ms=3, label=method)
    volumes.axhline(0, color="grey", lw=0.5)
    volumes.set(xlabel="mean of truth and prediction, ml", ylabel="prediction - truth, ml")
    volumes.set_xscale("log")
    dice.set(xlabel="lesion volume, ml", ylabel="Dice", xscale="log", ylim=(0, 1))
    curve.plot([0, 1], [0, 1], color="grey", lw=0.5)
    curve.set(xlabel="predicted probability", ylabel="share of voxels that are lesion")
    dice.legend(frameon=False)
    figure.suptitle("Held-out simulated patients: no evidence about real ones")
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    pyplot.close(figure)


def draw_case(case: Case, masks: dict[str, Array], file: Path) -> None:
    """Draw the axial slice with the most lesion (or false positives): truth green, masks red."""
    from matplotlib import pyplot

    scan = np.squeeze(np.asarray(nib.load(case.scan).dataobj))
    shown = case.truth if case.truth.any() else np.sum(list(masks.values()), axis=0)
    z = int(shown.sum(axis=(0, 1)).argmax())
    width = max(2.4 * len(masks), 3.6)
    figure, axes = pyplot.subplots(
        1, len(masks), figsize=(width, 3.3), squeeze=False, layout="constrained"
    )
    top = np.percentile(scan, 99.7)
    for panel, (method, mask) in zip(axes[0], masks.items(), strict=True):
        panel.imshow(scan[:, :, z].T, origin="lower", cmap="gray", vmin=0, vmax=top)
        for lesion, colour in ((case.truth, "lime"), (mask, "red")):
            if lesion[:, :, z].any():
                panel.contour(lesion[:, :, z].T, [0.5], colors=colour, linewidths=0.7)
        dice = 2 * (mask & case.truth).sum() / max(mask.sum() + case.truth.sum(), 1)
        panel.set_title(f"{method}\nDice {dice:.2f}", fontsize=7)
        panel.axis("off")
    figure.suptitle(f"{case.name}: truth green, prediction red", fontsize=8)
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def main(what: str, out: str, data: str, *weights: str) -> None:
    """Evaluate on one kind of scan; ``weights`` are BUNDLE=FILE."""
    matplotlib.use("Agg")
    folder, root = Path(out), Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    shipped = dict.fromkeys(LEFT_RIGHT, "narrow.safetensors")
    files = dict(pair.split("=", 1) for pair in weights) or shipped
    methods: Methods = {b: Method(b, f) for b, f in files.items()}
    cases = {
        "simulated": lambda: simulated_cases(root),
        "arc": lambda: iter([arc_case(root, folder)]),
        "isles": lambda: isles_cases(root),
    }
    flips: Methods = {}
    if what == "arc":
        flips = {b: Method(b, f, flips=True) for b, f in files.items()}
    run(cases[what](), methods, flips, folder, what)


if __name__ == "__main__":
    main(*sys.argv[1:])
