"""Evaluate weights of the overlay whole_brain.

    python examples/try_whole_brain.py simulated OUT SOURCES [WEIGHTS]  # held-out patients
    python examples/try_whole_brain.py real OUT DATA [WEIGHTS]          # the real scans of DATA

SOURCES is the output of ``train_weights.py prepare``. The probability threshold and minimum lesion
size are chosen on the patients of the part "validate" and evaluated on those of "report": neither
their anatomies nor their masks were used in training. Writes simulated.json and failures.png.

DATA holds arc/sub-M2051 (a lesion and its mask) and heads (no lesion). Each scan, and the first
turned, cropped, thick, without its skull and in other units, is segmented by ``predict``. Writes
arc.json. WEIGHTS are the published ones by default.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cc3d
import nibabel as nib
import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

import stroke_nets
from stroke_nets.evaluation.lesions import lesion_figures
from stroke_nets.inference.outputs import LEAST_ML, LEVEL
from stroke_nets.synthesis.t1w import Habit, make_patient, read_sources
from stroke_nets.synthesis.t1w.lesion_shapes import VOXEL_ML
from stroke_nets.training.checkpoint import load_weights
from stroke_nets.transforms.brain_box import SHAPE, with_mirror

CONFIGS = Path(__file__).parents[1] / "bundles" / "mscsa_default" / "configs"
WEIGHTS = CONFIGS.parent / "models" / "whole_brain.safetensors"
PATIENTS = {"validate": (40, 101), "report": (60, 102)}  # number and seed
HABIT = Habit(healthy=0.2)
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MINIMUM_ML = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
BINS_ML = ((0.0, 1.0), (1.0, 10.0), (10.0, 1000.0))
Mask = NDArray[np.bool_]
Case = tuple[NDArray[np.float32], NDArray[np.float32], Mask]  # image, probability, truth


def load(weights: Path) -> tuple[nn.Module, Any]:
    """The overlay's network with its weights, and its resampling to the network's grid."""
    parser = ConfigParser()
    parser.read_config([CONFIGS / "inference.yaml", CONFIGS / "whole_brain.yaml"])
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_weights(weights, network))
    return network.eval(), parser.get_parsed_content("network_grid")


def probabilities(network: nn.Module, grid: Any, image: Tensor) -> NDArray[np.float32]:
    """Lesion probability in the 2 mm box, (X, Y, Z)."""
    seen = grid({"image": with_mirror(image[None])})["image"][None]
    with torch.inference_mode():
        found = network(torch.as_tensor(seen)).softmax(1)[:, 1:]
    return nn.functional.interpolate(found, size=SHAPE, mode="trilinear")[0, 0].numpy()


def cases(network: nn.Module, grid: Any, sources: Path, part: str) -> Iterator[Case]:
    """Images, probabilities and truth of one part's patients."""
    count, seed = PATIENTS[part]
    made_of = read_sources(sources, part)
    for index in range(count):
        image, truth = make_patient(seed, index, made_of, HABIT)
        yield image.numpy(), probabilities(network, grid, image), truth.numpy()


def segment(probability: NDArray[np.float32], threshold: float, minimum_ml: float) -> Mask:
    """Voxels above the threshold, in lesions of at least the minimum volume."""
    mask = (probability > threshold).astype(np.uint8)
    return np.asarray(cc3d.dust(mask, threshold=round(minimum_ml / VOXEL_ML), connectivity=26) > 0)


def dice(found: Mask, truth: Mask) -> float:
    """2 |A and B| / (|A| + |B|); 1 if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def lesions_without_truth(found: Mask, truth: Mask) -> int:
    """The number of predicted lesions that do not overlap the truth."""
    figures = lesion_figures(found, truth, VOXEL_ML, 26)
    return round(figures["lesions_predicted"] * (1 - figures["lesion_precision"]))


def choose(measured: list[Case]) -> tuple[float, float]:
    """Threshold and minimum volume with the best mean Dice; a healthy brain counts 1 or 0."""
    pairs = [(t, ml) for t in THRESHOLDS for ml in MINIMUM_ML]
    means = [np.mean([dice(segment(p, t, ml), y) for _, p, y in measured]) for t, ml in pairs]
    return pairs[int(np.argmax(means))]


def measure(measured: list[Case], threshold: float, minimum_ml: float) -> dict[str, Any]:
    """The results of one part for the model card."""
    masks = [(segment(p, threshold, minimum_ml), y) for _, p, y in measured]
    ill = [(found, y) for found, y in masks if y.any()]
    false = [lesions_without_truth(*pair) for pair in masks]
    found_of: dict[str, list[bool]] = {f"{low:g} to {high:g} ml": [] for low, high in BINS_ML}
    for found, truth in ill:
        lesions = cc3d.connected_components(truth.astype(np.uint8), connectivity=26)
        for number in range(1, int(lesions.max()) + 1):
            one = lesions == number
            ml = float(one.sum()) * VOXEL_ML
            low, high = next(b for b in BINS_ML if b[0] <= ml < b[1])
            found_of[f"{low:g} to {high:g} ml"].append(bool(found[one].any()))
    healthy = [float(found.sum()) * VOXEL_ML for found, y in masks if not y.any()]
    volumes = [(y.sum() * VOXEL_ML, found.sum() * VOXEL_ML) for found, y in ill]
    large = [pair for pair, (truth, _) in zip(ill, volumes, strict=True) if truth >= 10]
    errors = [(found - truth) / truth for truth, found in volumes if truth >= 10]
    seen = [(y.sum() * VOXEL_ML, found.sum() * VOXEL_ML) for found, y in masks]
    ratios = [truth / found for truth, found in seen if found >= LEAST_ML]
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
        "volume_ratio": np.quantile(ratios, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).round(2).tolist(),
        "volumes_ml": [[round(float(ml), 2) for ml in pair] for pair in volumes],
    }


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


def try_simulated(out: Path, sources: Path, weights: Path) -> None:
    """Choose on one part, evaluate on the other, and write the results."""
    network, grid = load(weights)
    threshold, minimum_ml = choose(list(cases(network, grid, sources, "validate")))
    measured = list(cases(network, grid, sources, "report"))
    result = measure(measured, threshold, minimum_ml)
    result = {"threshold": threshold, "minimum_ml": minimum_ml} | result
    (out / "simulated.json").write_text(json.dumps(result, indent=1) + "\n")
    draw_failures(measured, threshold, minimum_ml, out / "failures.png")
    print(json.dumps(result, indent=1))


def predicted(voxels: NDArray[Any], affine: NDArray[Any], weights: Path) -> Mask:
    """What ``predict`` finds in a scan, on its grid."""
    with tempfile.TemporaryDirectory() as folder:
        scan, out = Path(folder) / "sub-1_T1w.nii.gz", Path(folder) / "out"
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), scan)
        given = {"method": "mscsa_default", "overlay": "whole_brain", "checkpoint": weights}
        stroke_nets.predict(scan, out, **(given if weights != WEIGHTS else {}))
        mask = next(out.glob("sub-1/anat/sub-1_desc-*_mask.nii.gz"))
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


def try_real(out: Path, data: Path, weights: Path) -> None:
    """Segment the real scans and write the results."""
    anat = data / "arc" / "sub-M2051" / "anat"
    scan, truth = (
        nib.as_closest_canonical(nib.load(anat / f"sub-M2051_{name}.nii.gz"))
        for name in ("T1w", "label-lesion_mask")
    )
    voxels, lesion = scan.get_fdata(dtype=np.float32), np.asanyarray(truth.dataobj) > 0
    plain = predicted(voxels, scan.affine, weights)
    voxel_ml = float(abs(np.linalg.det(scan.affine[:3, :3]))) / 1000
    result: dict[str, Any] = {
        "dice": round(dice(plain, lesion), 4),
        "truth_ml": round(lesion.sum() * voxel_ml, 1),
        "predicted_ml": round(plain.sum() * voxel_ml, 1),
    }
    result["dice_with_the_plain_scan"] = {
        name: round(dice(predicted(changed, affine, weights), onto(plain)), 4)
        for name, changed, affine, onto in variations(voxels, scan.affine)
    }
    result["false_ml_in_healthy_heads"] = {}
    for file in sorted((data / "heads").glob("*.nii.gz")):
        head = nib.as_closest_canonical(nib.load(file))
        mask = predicted(np.squeeze(head.get_fdata(dtype=np.float32)), head.affine, weights)
        ml = mask.sum() * float(abs(np.linalg.det(head.affine[:3, :3]))) / 1000
        result["false_ml_in_healthy_heads"][file.name] = round(ml, 2)
    (out / "arc.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def main(what: str, out: Path, given: Path, weights: Path = WEIGHTS) -> None:
    """Evaluate on one kind of scan."""
    out.mkdir(parents=True, exist_ok=True)
    {"simulated": try_simulated, "real": try_real}[what](out, given, weights)


if __name__ == "__main__":
    main(sys.argv[1], *(Path(argument) for argument in sys.argv[2:]))
