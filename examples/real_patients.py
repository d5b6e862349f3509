"""A smoke test of two bundles on a few real patients; it says nothing about accuracy.

    python examples/real_patients.py arc DATA OUT         # agmr_net: train on one T1w, segment it
    python examples/real_patients.py arc_mscsa DATA OUT   # mscsa_default: the same
    python examples/real_patients.py arc_unet DATA OUT    # without its attention: nnU-Net's U-Net
    python examples/real_patients.py isles22 DATA OUT     # agmr_net: leave-one-out on four DWIs

DATA holds ``arc/sub-M2051`` (ARC, OpenNeuro ds004884) and ``isles22/sub-strokecase*`` (ISLES 2022).
Further arguments, such as ``max_epochs=1``, override training options.
"""

import sys
import time
from pathlib import Path

import pandas as pd

from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.runs.bundle_run import read_settings, run_bundle

BUNDLES = Path(__file__).parents[1] / "bundles"
BY_HEART = {  # no dropout, and seven in ten sampled slices contain a lesion
    "max_epochs": 14,
    "lr_gamma": 0.85,
    "dropout": 0.0,
    "sampler#weights": "$@train#dataset.lesion_weights(0.7)",
}
CUT = {  # no augmentation
    "_target_": "monai.transforms.CenterSpatialCropd",
    "keys": ["image", "label"],
    "roi_size": "@patch_size",
}
ARC = {
    "image": "arc/**/*_T1w.nii.gz",
    "label": "_label-lesion_mask.nii.gz",
    "folds": None,
    "part": "train",
    "runs": 1,
}
PATCHES = {"max_epochs": 12, "train_batches": 40, "augmentation": CUT}
PLANS = {
    "arc": {**ARC, "bundle": "agmr_net", "options": BY_HEART},
    "arc_mscsa": {**ARC, "bundle": "mscsa_default", "options": PATCHES},
    "arc_unet": {
        **ARC,
        "bundle": "mscsa_default",
        "overlays": ["without_mscsa"],
        "options": {**PATCHES, "max_epochs": 24},  # it sees less of the brain at once
    },
    "isles22": {
        "bundle": "agmr_net",
        "image": "isles22/**/*_dwi.nii.gz",
        "label": "_msk.nii.gz",
        "folds": 4,
        "part": "heldout",
        "runs": 4,
        "options": {"max_epochs": 4, "sampler#num_samples": 400},
    },
}


def main(name: str, data: str, out: str, *settings: str) -> None:
    """Train, predict and evaluate each fold, then print one table."""
    start, plan, folder = time.monotonic(), PLANS[name], Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    files = {"image": plan["image"], "label": plan["label"], "folds": plan["folds"]}
    from_folder(Path(data), out=manifest, **files)
    bundle, overlays = BUNDLES / plan["bundle"], ["demo", *plan.get("overlays", [])]
    tables = []
    for fold in range(plan["runs"]):
        where = {"dataset_dir": data, "manifest": str(manifest), "fold": fold}
        where |= {"part": plan["part"], "output_dir": str(folder / f"fold{fold}")}
        training = where | plan["options"] | read_settings(settings)
        training["cache_dir"] = str(folder / "cache")
        for step, options in (("train", training), ("infer", where), ("evaluate", where)):
            done = run_bundle(bundle, step, overlays, options)
        tables.append(pd.read_csv(done / "cases.csv"))
    table = pd.concat(tables)
    table.to_csv(folder / "table.csv", index=False)
    columns = ["subject", "dice", "recall", "precision", "asd", "hd95", "truth_ml", "predicted_ml"]
    print(table[columns].to_string(index=False, float_format="%.3f"))
    print(f"smoke test, not accuracy; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
