"""Training data throughput: the Default augmentation against batchgeneratorsv2; the slice cache.

    OMP_NUM_THREADS=1 peer/bin/python benchmarks/data_path.py      # environment: nnunet_peer.py

Augmentation: a window around a 128^3 patch, centred on a simulated lesion, is augmented with our
recipe (bundles/mscsa_default) and with nnU-Net v2's own list of transforms, alternately, on one
core; the result is patches per second of processor time. Ours interpolates scans with cubic splines
like nnU-Net v1, nnU-Net v2 linearly. Slices: all stacks of the first epoch, decoded and resampled
from compressed files, and of the second, from memory-mapped ones; and reopening the cache, which
verifies its checksums. Writes results/data_path.json.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import Compose, Orientationd, ScaleIntensityd
from record import comparison, write

from stroke_nets.registration.volume import brain
from stroke_nets.synthesis import Design, simulate_patient
from stroke_nets.training.patches import WINDOW, cut_window
from stroke_nets.training.slices import SliceDataset
from stroke_nets.transforms.load_scan import LoadScand
from stroke_nets.transforms.slice_plane import SlicePlaned

RECIPE = Path(__file__).parents[1] / "bundles" / "mscsa_default" / "configs" / "train.yaml"
GOAL_AUGMENT, GOAL_CACHE = 1.0, 20.0


def ours(patch: list[int]) -> Callable[[int, dict[str, Any]], Any]:
    """Our Default augmentation, called with a seed and a window."""
    recipe = {"augmentation": yaml.safe_load(RECIPE.read_text())["augmentation"]}
    parser = ConfigParser(recipe | {"patch_size": patch, "augment_device": "cpu"})
    augment = Compose([parser.get_parsed_content("augmentation")])

    def run(seed: int, window: dict[str, Any]) -> Any:
        augment.set_random_state(seed=seed)
        return augment(dict(window))

    return run


def theirs(patch: list[int]) -> Callable[[int, dict[str, Any]], Any]:
    """nnU-Net v2's default augmentation of 3D patches, called with a seed and a window."""
    import nnunet_peer  # noqa: F401  stubs for packages that are not installed
    from batchgeneratorsv2.helpers.scalar_type import RandomScalar  # noqa: F401
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    turn = (-30.0 / 360 * 2 * np.pi, 30.0 / 360 * 2 * np.pi)
    augment = nnUNetTrainer.get_training_transforms(np.array(patch), turn, None, (0, 1, 2), False)

    def run(seed: int, window: dict[str, Any]) -> Any:
        np.random.seed(seed)  # noqa: NPY002  the generator that it uses
        torch.manual_seed(seed)
        image, label = (torch.from_numpy(window[k].copy()) for k in ("image", "label"))
        return augment(image=image, segmentation=label.to(torch.int16))

    return run


def augmentation(side: int, patches: int) -> dict[str, Any]:
    """Processor seconds per patch, ours and theirs alternately."""
    patch = [side] * 3
    size = int(np.ceil(side * WINDOW)) // 2 * 2
    volumes = [v.astype(np.float32) for v in simulate_patient(0, 1, Design(plain=True))]
    centre = np.argwhere(volumes[1]).mean(0).astype(int)
    cuts = [cut_window(v, centre - size // 2, np.full(3, size))[None] for v in volumes]
    window = {"image": cuts[0] / cuts[0].std(), "label": cuts[1]}
    ways = {"ours": ours(patch), "batchgeneratorsv2": theirs(patch)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(-2, patches):  # the first two are warm-up
        for name, run in ways.items():
            began = time.process_time()
            run(abs(seed), window)
            if seed >= 0:
                seconds[name].append(round(time.process_time() - began, 4))
    return {"side": side, "window": size, "seconds": seconds}


def slice_cache(cases: int) -> dict[str, Any]:
    """Processor seconds of two epochs over all slices of simulated patients."""
    with tempfile.TemporaryDirectory() as scratch:
        data = []
        for index in range(1, cases + 1):
            files = {k: f"{scratch}/{index}_{k}.nii.gz" for k in ("image", "label")}
            volumes = simulate_patient(0, index, Design(plain=True))
            for file, volume in zip(files.values(), volumes, strict=True):
                nib.save(nib.Nifti1Image(volume, brain().affine), file)
            data.append(files)
        keys = ["image", "label"]
        transform = Compose(
            [
                LoadScand(keys),
                Orientationd(keys, "RAS", labels=None),
                SlicePlaned(keys),
                ScaleIntensityd("image"),
            ]
        )
        began = time.process_time()
        slices = SliceDataset(data, transform, f"{scratch}/cache")
        seconds = []
        for _ in range(2):
            count = sum(1 for i in range(len(slices)) if slices[i])
            seconds.append(time.process_time() - began)
            began = time.process_time()
        SliceDataset(data, transform, f"{scratch}/cache")
        opened = time.process_time() - began
    first, later = seconds
    return {
        "cases": cases,
        "slices": count,
        "first_epoch_s": first,
        "later_s": later,
        "reopen_s": opened,
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    augment = augmentation(options.side, options.patches)
    rates = {n: 1 / statistics.mean(s) for n, s in augment["seconds"].items()}
    cache = slice_cache(options.cases)
    augmenting = f"patches a second and core, Default, {options.side}^3, batchgeneratorsv2"
    comparisons = {
        augmenting: comparison(
            rates["ours"],
            rates["batchgeneratorsv2"],
            GOAL_AUGMENT,
            unit="1/s",
            less=False,
            note=options.note,
        ),
        "slices, an epoch from memory-mapped files, the first epoch": comparison(
            cache["later_s"], cache["first_epoch_s"], GOAL_CACHE
        ),
    }
    write("data_path", comparisons, augmentation=augment, slice_cache=cache)


if __name__ == "__main__":
    main()
