"""A smoke test of two bundles on a few real patients; it says nothing about accuracy.

    python examples/real_patients.py arc DATA OUT         # agmr_net: learn one T1w, segment it
    python examples/real_patients.py arc_mscsa DATA OUT   # mscsa_default: the same
    python examples/real_patients.py arc_unet DATA OUT    # without its attention: nnU-Net's U-Net
    python examples/real_patients.py isles22 DATA OUT     # agmr_net: leave one of four DWIs out

DATA holds ``arc/sub-M2051`` (ARC, OpenNeuro ds004884) and ``isles22/sub-strokecase*`` (ISLES 2022).
"""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from stroke_nets.runs.bundle_run import Step, bundle_command

BUNDLES = Path(__file__).parents[1] / "bundles"
BY_HEART = {  # no dropout, and seven in ten slices drawn hold a lesion
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
    "folds": 0,
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


def run(plan: dict, step: Step, **options: object) -> None:
    """Run a step of a method with the demo's widths."""
    overlays = ["demo", *plan.get("overlays", [])]
    command = bundle_command(BUNDLES / plan["bundle"], step, overlays, options)
    subprocess.run(command, check=True)


def main(name: str, data: str, out: str) -> None:
    """Train, predict and evaluate each fold, then print one table."""
    start, plan, folder = time.monotonic(), PLANS[name], Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    tool = str(Path(sys.executable).with_name("stroke-nets"))
    command = [tool, "manifest", data, manifest, "--image", plan["image"], "--label", plan["label"]]
    subprocess.run([*command, "--folds", str(plan["folds"])], check=True)
    tables = []
    for fold in range(plan["runs"]):
        where = {"dataset_dir": data, "manifest": manifest, "fold": fold, "part": plan["part"]}
        where["output_dir"] = folder / f"fold{fold}"
        cache = folder / "cache"
        run(plan, "train", **where, **plan["options"], cache_dir=cache)
        run(plan, "infer", **where)
        run(plan, "evaluate", **where)
        tables.append(pd.read_csv(where["output_dir"] / "cases.csv"))
    table = pd.concat(tables)
    table.to_csv(folder / "table.csv", index=False)
    columns = ["subject", "dice", "recall", "precision", "asd", "hd95", "truth_ml", "predicted_ml"]
    print(table[columns].to_string(index=False, float_format="%.3f"))
    print(f"smoke test, not accuracy; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
