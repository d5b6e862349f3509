"""Evaluate weights on held-out simulated patients and on real scans.

    python examples/try_weights.py simulated BUNDLE:OVERLAY OUT SOURCES [WEIGHTS]  # held out
    python examples/try_weights.py real BUNDLE:OVERLAY OUT DATA [WEIGHTS]  # the real scans of DATA

BUNDLE:OVERLAY are the weights' own: mscsa_default:whole_brain, mscsa_default:diffusion or
agmr_net:whole_brain; WEIGHTS are the published ones by default. SOURCES is the output of
``train_weights.py prepare``. The probability threshold and minimum lesion size are chosen on the
patients of the part "validate", on which the probabilities are calibrated as well, and evaluated on
those of "report": neither their anatomies nor their masks were used in training. Of published
weights nothing is chosen. Patients of diffusion are evaluated with their ADC maps and without.
Writes simulated.json, failures.png and agreement.png.

DATA holds, for T1w, arc/sub-M2051 (a lesion and its mask) and heads (no lesion). ``predict``
segments each scan, and that of arc also turned, cropped, in thick slices and in other units. For
diffusion it holds isles22, patients of ISLES 2022 with DWI, ADC and mask; each is segmented with
its ADC map and without. Writes real.json.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cc3d
import nibabel as nib
import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit
from torch import Tensor

import stroke_nets
from stroke_nets.evaluation.lesions import CONNECTIVITY, lesion_figures
from stroke_nets.inference.method import Method
from stroke_nets.inference.outputs import LEVEL
from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.weights import choose as choose_weights
from stroke_nets.synthesis import diffusion, t1w
from stroke_nets.synthesis.t1w.lesion_shapes import VOXEL_ML
from stroke_nets.transforms.brain_box import AFFINE, SHAPE, with_mirror

BUNDLES = Path(__file__).parents[1] / "bundles"
PATIENTS = {"validate": (40, 101), "report": (60, 102)}  # number and seed
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MINIMUM_ML = (0.05, 0.1, 0.2, 0.5, 1.0)  # simulated T1w lesions have at least 0.04
MOST_FALSE = 0.5  # lesions a patient
BINS_ML = ((0.0, 1.0), (1.0, 10.0), (10.0, 1000.0))
FOUND_ML = (1.0, 10.0, 30.0, 100.0)  # least found volumes of the classes with their own interval
TENTHS = 10  # classes of probability, of which the lowest is sure background
FEWEST = 19  # patients whose ratios span an interval of 90 %: 18 / 20 of further ones lie within
Mask = NDArray[np.bool_]
Case = tuple[NDArray[np.float32], NDArray[np.float32], Mask]  # image, probability, truth


class Trial(NamedTuple):
    """How weights of an overlay are tried on simulated patients.

    Attributes:
        make: makes a patient.
        chosen_on: habit of the patients on which threshold and minimum size are chosen.
        reported: habits of those that are reported; of several, under their names but the first.
    """

    make: Callable[..., tuple[Tensor, Tensor]]
    chosen_on: Any
    reported: dict[str, Any]


TRIALS = {
    "whole_brain": Trial(t1w.make_patient, t1w.Habit(healthy=0.2), {"T1w": t1w.Habit(healthy=0.2)}),
    "diffusion": Trial(
        diffusion.make_patient,
        diffusion.Habit(healthy=0.2, dwi_alone=0.5),
        {
            "dwi_and_adc": diffusion.Habit(healthy=0.2, dwi_alone=0),
            "dwi_alone": diffusion.Habit(healthy=0.2, dwi_alone=1),
        },
    ),
}


class Weights(NamedTuple):
    """Weights that are tried: a bundle's name, the overlay of their training, and their file."""

    bundle: str
    overlay: str
    file: Path

    def method(self) -> Method:
        """The network as predict runs it."""
        (found,) = choose_weights([self.bundle], [self.file], self.overlay)
        return Method(found, torch.device("cpu"))

    @property
    def published(self) -> bool:
        """Whether they are the bundle's own."""
        return self.file == published(self.bundle, self.overlay)


@torch.inference_mode()
def probabilities(method: Method, image: Tensor) -> NDArray[np.float32]:
    """Lesion probability in the 2 mm box, (X, Y, Z), of images (C, X, Y, Z)."""
    seen = image if isinstance(method.inferer, SliceStackInferer) else with_mirror(image)
    swept = method.sweep(seen[None], method.network)[0]
    found = method.activation({"image": MetaTensor(seen, torch.as_tensor(AFFINE)), "pred": swept})
    return np.asarray(found["pred"][0], np.float32)


def cases(method: Method, trial: Trial, sources: Path, part: str, habit: Any) -> list[Case]:
    """Images, probabilities and truth of one part's patients."""
    count, seed = PATIENTS[part]
    made_of, found = t1w.read_sources(sources, part), []
    for index in range(count):
        image, truth = trial.make(seed, index, made_of, habit)
        images = image.view(-1, *SHAPE)
        found.append((images[0].numpy().copy(), probabilities(method, images), truth.numpy()))
    return found


def segment(probability: NDArray[np.float32], threshold: float, minimum_ml: float) -> Mask:
    """Voxels above the threshold, in lesions of at least the minimum volume."""
    mask = (probability > threshold).astype(np.uint8)
    return np.asarray(
        cc3d.dust(mask, threshold=round(minimum_ml / VOXEL_ML), connectivity=CONNECTIVITY) > 0
    )


def dice(found: Mask, truth: Mask) -> float:
    """2 |A and B| / (|A| + |B|); 1 if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def lesions_without_truth(found: Mask, truth: Mask) -> int:
    """The number of predicted lesions that do not overlap the truth."""
    figures = lesion_figures(found, truth, VOXEL_ML, CONNECTIVITY)
    return round(figures["lesions_predicted"] * (1 - figures["lesion_precision"]))


def choose(measured: list[Case]) -> tuple[float, float]:
    """Threshold and minimum volume by the Dice of each patient; a healthy brain counts 1 or 0.

    Of the pairs that are within one standard error of the best one (after Breiman et al.,
    Classification and Regression Trees, 1984; here the error of the mean difference from it, since
    the patients are the same), the threshold nearest to 0.5, as networks are less sure of real
    lesions than of simulated ones; and then the smallest volume with which at most half a false
    lesion a patient is found, or else the largest one.

    Args:
        measured: images, probabilities and truth, each (X, Y, Z), of at least one patient.

    Returns:
        The threshold, and the minimum volume in ml.
    """
    pairs = [(t, ml) for t in THRESHOLDS for ml in MINIMUM_ML]
    scores = np.array([[dice(segment(p, t, ml), y) for _, p, y in measured] for t, ml in pairs])
    behind = scores[scores.mean(axis=1).argmax()] - scores
    error = behind.std(axis=1) / len(measured) ** 0.5
    near = [pair for pair, ok in zip(pairs, behind.mean(axis=1) <= error, strict=True) if ok]
    threshold = min((t for t, _ in near), key=lambda t: abs(t - 0.5))
    volumes = [ml for t, ml in near if t == threshold]

    def false_lesions(ml: float) -> float:
        found = [lesions_without_truth(segment(p, threshold, ml), y) for _, p, y in measured]
        return float(np.mean(found))

    few = [ml for ml in volumes if false_lesions(ml) <= MOST_FALSE]
    return threshold, min(few, default=max(volumes))


def fit_calibration(measured: list[Case]) -> dict[str, float]:
    """Slope and offset by which logits become right (Platt 1999), by maximum likelihood.

    Voxels that are 0 in the image, which lie outside the brain, do not count.

    Args:
        measured: images, the network's own probabilities, and truth, each (X, Y, Z).

    Returns:
        ``slope`` and ``offset``, in logits.
    """
    inside = [image != 0 for image, *_ in measured]
    found = np.concatenate([p[seen] for (_, p, _), seen in zip(measured, inside, strict=True)])
    truth = np.concatenate([y[seen] for (*_, y), seen in zip(measured, inside, strict=True)])
    own = logits(found)

    def likelihood(line: NDArray[np.float64]) -> float:
        shifted = line[0] * own + line[1]
        return float(np.mean(np.logaddexp(0, shifted) - truth * shifted))

    slope, offset = minimize(likelihood, (1, 0), method="Nelder-Mead").x
    return {"slope": round(float(slope), 3), "offset": round(float(offset), 3)}


def chosen(measured: list[Case]) -> dict[str, Any]:
    """What is chosen for weights: calibration, threshold of calibrated probabilities, minimum ml.

    The threshold is chosen by the network's own probabilities; calibration leaves the mask.
    """
    threshold, minimum_ml = choose(measured)
    line = fit_calibration(measured)
    threshold = round(float(calibrate(threshold, **line)), 2)
    return {"threshold": threshold, "minimum_ml": minimum_ml, "calibration": line}


def logits(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits of probabilities, of which none is nearer to 0 or 1 than float32 tells."""
    return np.asarray(logit(np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)))


def calibrate(probability: Any, slope: float, offset: float) -> Any:
    """Calibrated probabilities of a network's own."""
    return expit(slope * logits(np.asarray(probability)) + offset).astype(np.float32)


def measure(measured: list[Case], threshold: float, minimum_ml: float) -> dict[str, Any]:
    """The results of one part for the model card."""
    masks = [(segment(p, threshold, minimum_ml), y) for _, p, y in measured]
    ill = [(found, y) for found, y in masks if y.any()]
    false = [lesions_without_truth(*pair) for pair in masks]
    found_of: dict[str, list[bool]] = {f"{low:g} to {high:g} ml": [] for low, high in BINS_ML}
    for found, truth in ill:
        lesions = cc3d.connected_components(truth.astype(np.uint8), connectivity=CONNECTIVITY)
        for number in range(1, int(lesions.max()) + 1):
            one = lesions == number
            ml = float(one.sum()) * VOXEL_ML
            low, high = next(b for b in BINS_ML if b[0] <= ml < b[1])
            found_of[f"{low:g} to {high:g} ml"].append(bool(found[one].any()))
    healthy = [float(found.sum()) * VOXEL_ML for found, y in masks if not y.any()]
    volumes = [(y.sum() * VOXEL_ML, found.sum() * VOXEL_ML) for found, y in ill]
    large = [pair for pair, (truth, _) in zip(ill, volumes, strict=True) if truth >= 10]
    errors = [(found - truth) / truth for truth, found in volumes if truth >= 10]
    return {
        "patients": len(masks),
        "dice": round(float(np.mean([dice(*pair) for pair in ill])), 4),
        "dice_10_ml_and_more": round(float(np.mean([dice(*pair) for pair in large])), 4),
        "lesions_found": {k: [sum(v), len(v)] for k, v in found_of.items()},
        "false_lesions_a_patient": round(float(np.mean(false)), 3),
        "false_ml_in_healthy": [round(ml, 2) for ml in sorted(healthy)],
        "volume_error_10_ml_and_more": {
            "median": round(float(np.median(errors)), 3),
            "limits_of_agreement": [
                round(float(np.mean(errors) + k * 1.96 * np.std(errors, ddof=1)), 3)
                for k in (-1, 1)
            ],
        },
        "calibration_error": round(calibration_error(measured), 3),
        "volumes_ml": [[round(float(ml), 2) for ml in pair] for pair in volumes],
    }


def reliability(measured: list[Case]) -> NDArray[np.float64]:
    """Voxels, mean probability and share of lesion of each tenth of probability but the lowest.

    Returns:
        (3, 9).
    """
    sums = np.zeros((3, TENTHS))
    for _, probability, truth in measured:
        tenth = np.minimum((probability * TENTHS).astype(int), TENTHS - 1).ravel()
        for row, weights in enumerate((None, probability.ravel(), truth.ravel())):
            sums[row] += np.bincount(tenth, weights, TENTHS)
    voxels, *others = sums[:, 1:]
    return np.stack([voxels, *(other / np.maximum(voxels, 1) for other in others)])


def calibration_error(measured: list[Case]) -> float:
    """Mean distance of probability and share of lesion over the voxels from 0.1 on."""
    voxels, probability, share = reliability(measured)
    return float((voxels * np.abs(probability - share)).sum() / max(voxels.sum(), 1))


def volume_ratios(volumes: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """Bounds of true over found volume, for each class of found volume.

    A healthy brain counts in the class of the volume that was falsely found in it. A class of too
    few patients is joined with the one below.

    Args:
        volumes: true and found ml of each patient.
    """
    classes: list[dict[str, Any]] = []
    end, outside = np.inf, (1 - LEVEL) / 2
    for begin in reversed(FOUND_ML):
        ratios = [truth / found for truth, found in volumes if begin <= found < end]
        if len(ratios) >= FEWEST:
            # the k-th of n values has k / (n + 1) of all others below it
            bounds = np.quantile(ratios, (outside, 1 - outside), method="weibull")
            one = {"from_ml": begin, "patients": len(ratios), "ratio": bounds.round(2).tolist()}
            classes, end = [one, *classes], begin
    return classes


def draw_failures(measured: list[Case], threshold: float, minimum_ml: float, file: Path) -> None:
    """Draw the four patients with the worst Dice: truth green, prediction red."""
    masks = [segment(p, threshold, minimum_ml) for _, p, _ in measured]
    order = np.argsort([dice(m, y) for m, (*_, y) in zip(masks, measured, strict=True)])
    figure = Figure((9, 3), layout="constrained")
    for axes, index in zip(figure.subplots(1, 4), order[:4], strict=True):
        (image, _, truth), mask = measured[index], masks[index]
        shown = truth if truth.any() else mask
        z = int(shown.sum(axis=(0, 1)).argmax())
        axes.imshow(image[::-1, :, z].T, origin="lower", cmap="gray")
        for lesion, colour in ((truth, "lime"), (mask, "red")):
            if lesion[:, :, z].any():
                axes.contour(lesion[::-1, :, z].T, [0.5], colors=colour, linewidths=0.8)
        volumes = [one.sum() * VOXEL_ML for one in (truth, mask)]
        axes.set_title(f"truth {volumes[0]:.1f} ml, found {volumes[1]:.1f}", fontsize=8)
        axes.axis("off")
    figure.savefig(file, dpi=90)


def draw_agreement(measured: list[Case], threshold: float, minimum_ml: float, file: Path) -> None:
    """Draw found against true volumes (Bland and Altman), and how often a probability is right."""
    pairs = [(segment(p, threshold, minimum_ml).sum(), y.sum()) for _, p, y in measured]
    found, truth = np.array([pair for pair in pairs if pair[1]]).T * VOXEL_ML
    figure = Figure((8, 3), layout="constrained")
    volumes, right = figure.subplots(1, 2)
    volumes.plot((found + truth) / 2, found - truth, "o", markersize=3)
    volumes.axhline(0, color="grey", linewidth=0.5)
    volumes.set(xlabel="mean of truth and mask, ml", ylabel="mask - truth, ml", xscale="log")
    right.plot(*reliability(measured)[1:], "o-", markersize=3)
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    right.set(xlabel="probability, mean of each tenth", ylabel="share of voxels that are lesion")
    figure.savefig(file, dpi=90)


def try_simulated(out: Path, sources: Path, weights: Weights) -> None:
    """Choose on one part, evaluate on the other, and write the results."""
    trial, method = TRIALS[weights.overlay], weights.method()
    chosen_on = cases(method, trial, sources, "validate", trial.chosen_on)
    parts = {n: cases(method, trial, sources, "report", h) for n, h in trial.reported.items()}
    before = {name: round(calibration_error(part), 3) for name, part in parts.items()}
    result: dict[str, Any] = {"threshold": method.threshold, "minimum_ml": method.minimum_ml}
    if not weights.published:
        result = chosen(chosen_on)
        for part in (chosen_on, *parts.values()):
            part[:] = [(i, calibrate(p, **result["calibration"]), y) for i, p, y in part]
    threshold, minimum_ml = result["threshold"], result["minimum_ml"]
    first, *others = (
        measure(part, threshold, minimum_ml) | {"calibration_error_before": before[name]}
        for name, part in parts.items()
    )
    volumes = [
        (float(truth.sum()) * VOXEL_ML, float(segment(p, threshold, minimum_ml).sum()) * VOXEL_ML)
        for part in (chosen_on, *parts.values())
        for _, p, truth in part
    ]
    result |= first
    result["volume_ratio"] = volume_ratios(volumes)
    result |= dict(zip([*parts][1:], others, strict=True))
    (out / "simulated.json").write_text(json.dumps(result, indent=1) + "\n")
    reported = next(iter(parts.values()))
    draw_failures(reported, threshold, minimum_ml, out / "failures.png")
    draw_agreement(reported, threshold, minimum_ml, out / "agreement.png")
    print(json.dumps(result, indent=1))


def predicted(images: dict[str, tuple[NDArray[Any], NDArray[Any]]], weights: Weights) -> Mask:
    """What ``predict`` finds in a scan, on its grid.

    Args:
        images: voxels and affine by BIDS suffix: ``T1w``, or ``dwi`` with or without ``adc``.
        weights: with the overlay's threshold and minimum size.
    """
    with tempfile.TemporaryDirectory() as folder:
        for suffix, (voxels, affine) in images.items():
            file = Path(folder) / f"sub-1_{suffix}.nii.gz"
            nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), file)
        scan, out = Path(folder) / f"sub-1_{next(iter(images))}.nii.gz", Path(folder) / "out"
        given = {} if weights.published else {"checkpoint": weights.file}
        stroke_nets.predict(scan, out, method=weights.bundle, overlay=weights.overlay, **given)
        mask = next(out.glob("sub-1/*/sub-1_desc-*_mask.nii.gz"))
        return np.asanyarray(nib.load(mask).dataobj) > 0


def variations(
    voxels: NDArray[Any], affine: NDArray[Any]
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any], Callable[[Mask], Mask]]]:
    """The same head as other scanners give it, and what brings a mask of the plain scan there."""
    turn = nib.affines.from_matvec(Rotation.from_euler("z", 20, degrees=True).as_matrix())
    yield "turned by 20 degrees", voxels, turn @ affine, lambda mask: mask
    cut = round(20 / np.linalg.norm(affine[:3, 2]))
    lower = affine @ nib.affines.from_matvec(np.eye(3), (0, 0, cut))
    yield "without its lowest 20 mm", voxels[..., cut:], lower, lambda mask: mask[..., cut:]
    depth = 4 * (voxels.shape[2] // 4)

    def thick(volume: NDArray[Any]) -> NDArray[Any]:
        return volume[..., :depth].reshape(*volume.shape[:2], -1, 4).mean(axis=3)

    slabs = affine @ nib.affines.from_matvec(np.diag([1, 1, 4]), (0, 0, 1.5))
    yield "slices of 4 mm", thick(voxels), slabs, lambda mask: thick(mask.astype(float)) >= 0.5
    yield "in other units", 0.001 * voxels - 5, affine, lambda mask: mask


def try_t1w(data: Path, weights: Weights) -> dict[str, Any]:
    """The real scans of whole_brain."""
    anat = data / "arc" / "sub-M2051" / "anat"
    scan, truth = (
        nib.as_closest_canonical(nib.load(anat / f"sub-M2051_{name}.nii.gz"))
        for name in ("T1w", "label-lesion_mask")
    )

    def found(voxels: NDArray[Any], affine: NDArray[Any]) -> Mask:
        return predicted({"T1w": (voxels, affine)}, weights)

    voxels, lesion = scan.get_fdata(dtype=np.float32), np.asanyarray(truth.dataobj) > 0
    plain, voxel_ml = found(voxels, scan.affine), ml_of(scan)
    result: dict[str, Any] = {
        "dice": round(dice(plain, lesion), 4),
        "truth_ml": round(lesion.sum() * voxel_ml, 1),
        "predicted_ml": round(plain.sum() * voxel_ml, 1),
    }
    result["dice_with_the_plain_scan"] = {
        name: round(dice(found(changed, affine), onto(plain)), 4)
        for name, changed, affine, onto in variations(voxels, scan.affine)
    }
    result["false_ml_in_healthy_heads"] = {}
    for file in sorted((data / "heads").glob("*.nii.gz")):
        head = nib.as_closest_canonical(nib.load(file))
        mask = found(np.squeeze(head.get_fdata(dtype=np.float32)), head.affine)
        result["false_ml_in_healthy_heads"][file.name] = round(mask.sum() * ml_of(head), 2)
    return result


def ml_of(image: nib.Nifti1Image) -> float:
    """The volume of a voxel."""
    return float(abs(np.linalg.det(image.affine[:3, :3]))) / 1000


def try_isles(data: Path, weights: Weights) -> dict[str, Any]:
    """The real patients of diffusion: with the ADC map, and, as ``dwi_alone``, without it."""
    result: dict[str, Any] = {}
    ways = {"dwi_and_adc": ("dwi", "adc"), "dwi_alone": ("dwi",)}
    patients = sorted((data / "isles22").glob("sub-*/"))
    for way, suffixes in ways.items():
        figures = {}
        for folder in patients:
            files = {k: nib.load(folder / f"{folder.name}_{k}.nii.gz") for k in (*suffixes, "msk")}
            images = {k: (files[k].get_fdata(dtype=np.float32), files[k].affine) for k in suffixes}
            truth = np.asanyarray(files["msk"].dataobj) > 0
            mask, voxel_ml = predicted(images, weights), ml_of(files["msk"])
            lesions = lesion_figures(mask, truth, voxel_ml, CONNECTIVITY)
            figures[folder.name] = {
                "dice": round(dice(mask, truth), 4),
                "truth_ml": round(truth.sum() * voxel_ml, 2),
                "predicted_ml": round(mask.sum() * voxel_ml, 2),
                "lesions_found": [
                    round(lesions["lesions_truth"] * lesions["lesion_recall"]),
                    round(lesions["lesions_truth"]),
                ],
                "false_lesions": lesions_without_truth(mask, truth),
            }
        mean = round(float(np.mean([one["dice"] for one in figures.values()])), 4)
        result[way] = {"dice": mean, "patients": figures}
    return {"dice": result["dwi_and_adc"]["dice"], **result}


def try_real(out: Path, data: Path, weights: Weights) -> None:
    """Segment the real scans and write the results."""
    result = (try_isles if weights.overlay == "diffusion" else try_t1w)(data, weights)
    (out / "real.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def published(bundle: str, overlay: str) -> Path:
    """The published weights of a bundle and overlay."""
    return BUNDLES / bundle / "models" / f"{overlay}.safetensors"


def main(what: str, of: str, out: str, given: str, file: str = "") -> None:
    """Evaluate on one kind of patients."""
    bundle, overlay = of.split(":")
    weights = Weights(bundle, overlay, Path(file) if file else published(bundle, overlay))
    Path(out).mkdir(parents=True, exist_ok=True)
    {"simulated": try_simulated, "real": try_real}[what](Path(out), Path(given), weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
