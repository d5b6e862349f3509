"""Agreement of the masks of all backends with eager float32, for trained networks.

    python benchmarks/agreement.py RUN [RUN ...] [--margin 32]

RUN is the folder of a finished training (``config.yaml``, ``checkpoints/last.pt``). Its training
case is segmented on the network's grid, cropped to the lesion and a margin. Reports the Dice of
each backend's mask with that of eager float32 and with the truth. PyTorch computes bfloat16,
emulated on CPUs without it, where OpenVINO ignores the setting. Writes results/agreement.json.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import CropForegroundd
from record import comparison, write
from torch import Tensor

from stroke_nets.datasets import manifest
from stroke_nets.inference.backend import BackendInferer
from stroke_nets.inference.pseudo_label import Run
from stroke_nets.training.checkpoint import load_network

WAYS = [("torch", "bfloat16"), ("compile", "float32"), ("openvino", "float32")]
GOALS = {"float32": 0.9999, "bfloat16": 0.998}
CHANGE, TRAINED = 0.002, 0.85


def dice(one: Tensor, other: Tensor) -> float:
    """Dice of two masks."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def case(run: Run, margin: int) -> dict[str, Tensor]:
    """The training case as input of the network: ``image`` and ``label``, 1 x ..."""
    where = {k: run.config[k] for k in ("dataset_dir", "manifest", "fold")}
    data = manifest.datalist(where.pop("dataset_dir"), "train", **where)[0]
    volumes = run.parser.get_parsed_content("train#preprocessing")(data)
    if "patch_size" in run.config:  # slices are not cropped in plane
        volumes = CropForegroundd(["image", "label"], "label", margin=margin)(volumes)
    return volumes


def masks(run: Run, volumes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masks of all backends, eager float32 first."""
    network = load_network(run.network, run.checkpoint)
    inferer = run.parser.get_parsed_content("inferer")
    image = volumes["image"]
    image = (image.as_tensor() if isinstance(image, MetaTensor) else image)[None]
    found = {}
    for backend, precision in [("torch", "float32"), *WAYS]:
        with torch.no_grad():
            output = BackendInferer(inferer, backend, precision)(image, network)
        lesion = output[0, 1] > 0.5 if output.shape[1] > 1 else output[0, 0] > 0
        found[f"{backend}, {precision}"] = lesion
        print(run.folder, backend, precision, int(lesion.sum()), "voxels", flush=True)
    return found


def main() -> None:
    """Compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--margin", type=int, default=32)
    options = parser.parse_args()
    comparisons: dict[str, Any] = {}
    for folder in options.runs:
        run = Run(folder)
        volumes = case(run, options.margin)
        truth = volumes["label"][0] > 0
        found = masks(run, volumes)
        eager = found.pop("torch, float32")
        name, trained = folder.name, dice(eager, truth)
        comparisons[f"{name}: Dice of eager float32, limit of a trained network"] = comparison(
            trained, TRAINED, 1.0, unit="", less=False
        )
        for way, mask in found.items():
            goal = GOALS[way.split(", ")[1]]
            comparisons[f"{name}: Dice of {way} with eager float32, limit"] = comparison(
                dice(mask, eager), goal, 1.0, unit="", less=False
            )
            changed = abs(dice(mask, truth) - trained)
            comparisons[f"{name}: change of Dice by {way}, limit"] = comparison(
                max(changed, 1e-9), CHANGE, 1.0, unit=""
            )
    write("agreement", comparisons)


if __name__ == "__main__":
    main()
