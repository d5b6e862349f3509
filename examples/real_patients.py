"""A smoke test of the agmr_net bundle on a few real patients; it says nothing about accuracy.

    python examples/real_patients.py arc DATA OUT       # train on one T1w and segment it again
    python examples/real_patients.py isles22 DATA OUT   # leave one out over four DWI cases

DATA holds ``arc/sub-M2051`` (ARC, OpenNeuro ds004884) and ``isles22/sub-strokecase*`` (ISLES 2022).
"""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

CONFIGS = Path(__file__).parents[1] / "bundles" / "agmr_net" / "configs"
PLANS = {
    "arc": {
        "image": "arc/**/*_T1w.nii.gz",
        "label": "_label-lesion_mask.nii.gz",
        "folds": 0,
        "part": "train",
        "runs": 1,
        "options": {"max_epochs": 8},
    },
    "isles22": {
        "image": "isles22/**/*_dwi.nii.gz",
        "label": "_msk.nii.gz",
        "folds": 4,
        "part": "heldout",
        "runs": 4,
        "options": {"max_epochs": 4, "sampler#num_samples": 400},
    },
}


def bundle(what: str, file: str, **options: object) -> None:
    """Run one workflow of the bundle with the demo's widths."""
    command = [sys.executable, "-m", "monai.bundle", "run", what]
    command += ["--bundle_root", str(CONFIGS.parent)]
    command += ["--config_file", str([str(CONFIGS / file), str(CONFIGS / "demo.yaml")])]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    subprocess.run(command, check=True)


def main(name: str, data: str, out: str) -> None:
    """Train, predict and evaluate each fold, then print one table."""
    start, plan, folder = time.monotonic(), PLANS[name], Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    tool = str(Path(sys.executable).with_name("stroke-nets"))
    command = [tool, "manifest", data, "--image", plan["image"], "--label", plan["label"]]
    subprocess.run([*command, "--out", manifest, "--folds", str(plan["folds"])], check=True)
    tables = []
    for fold in range(plan["runs"]):
        where = {"dataset_dir": data, "manifest": manifest, "fold": fold, "part": plan["part"]}
        where["output_dir"] = folder / f"fold{fold}"
        cache = folder / "cache"
        bundle("training", "train.yaml", **where, **plan["options"], cache_dir=cache)
        bundle("inference", "inference.yaml", **where)
        bundle("evaluating", "evaluate.yaml", **where)
        tables.append(pd.read_csv(where["output_dir"] / "cases.csv"))
    table = pd.concat(tables)
    table.to_csv(folder / "table.csv", index=False)
    columns = ["subject", "dice", "recall", "precision", "asd", "hd95", "truth_ml", "predicted_ml"]
    print(table[columns].to_string(index=False, float_format="%.3f"))
    print(f"smoke test, not accuracy; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
