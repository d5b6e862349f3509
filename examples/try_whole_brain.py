"""Evaluate weights of the overlay whole_brain on held-out simulated patients.

    python examples/try_whole_brain.py SOURCES OUT [WEIGHTS]

SOURCES is the output of ``train_weights.py prepare``. The probability threshold and minimum lesion
size are chosen on the patients of the part "validate" and evaluated on those of "report": neither
their anatomies nor their masks were used in training. Writes OUT/simulated.json.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from torch import Tensor, nn

from stroke_nets.evaluation.lesions import lesion_figures
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
Case = tuple[NDArray[np.float32], Mask]


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
    """Probabilities and truth of one part's patients."""
    count, seed = PATIENTS[part]
    made_of = read_sources(sources, part)
    for index in range(count):
        image, truth = make_patient(seed, index, made_of, HABIT)
        yield probabilities(network, grid, image), truth.numpy()


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
    means = [np.mean([dice(segment(p, t, ml), y) for p, y in measured]) for t, ml in pairs]
    return pairs[int(np.argmax(means))]


def measure(measured: list[Case], threshold: float, minimum_ml: float) -> dict[str, Any]:
    """The results of one part for the model card."""
    masks = [(segment(p, threshold, minimum_ml), y) for p, y in measured]
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
    large = [dice(found, y) for found, y in ill if y.sum() * VOXEL_ML >= 10]
    return {
        "patients": len(masks),
        "dice": round(float(np.mean([dice(*pair) for pair in ill])), 4),
        "dice_10_ml_and_more": round(float(np.mean(large)), 4),
        "lesions_found": {k: [sum(v), len(v)] for k, v in found_of.items()},
        "false_lesions_a_patient": round(float(np.mean(false)), 3),
        "false_ml_in_healthy": [round(ml, 2) for ml in sorted(healthy)],
    }


def main(sources: Path, out: Path, weights: Path = WEIGHTS) -> None:
    """Choose on one part, evaluate on the other, and write the results."""
    network, grid = load(weights)
    threshold, minimum_ml = choose(list(cases(network, grid, sources, "validate")))
    result = measure(list(cases(network, grid, sources, "report")), threshold, minimum_ml)
    result = {"threshold": threshold, "minimum_ml": minimum_ml} | result
    out.mkdir(parents=True, exist_ok=True)
    (out / "simulated.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
