"""One run in one process: train, predict, save stage maps if asked for, evaluate.

    python -m stroke_nets.papers.run_bundle bundles/NAME --overlay default --fold 0 \
        --dataset-dir DATA --runs runs [--ablation FILE] [--stage-maps]

A training that is complete is kept; an interrupted one goes on. ``summary.json`` is written last,
so that a run without it is not done.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from stroke_nets.papers.settings import scale
from stroke_nets.runs.exit_codes import one_line_errors


def run(
    bundle: Path,
    *,
    overlay: str,
    fold: int,
    dataset_dir: Path,
    runs: Path,
    scale_name: str = "full",
    stage_maps: bool = False,
    manifest: Path | None = None,
) -> Path:
    """Run a bundle from training to evaluation.

    Args:
        bundle: its folder.
        overlay: names the run folder, and the ablation if the bundle has one of this name.
        fold: of the manifest, held out.
        dataset_dir: the data root.
        runs: the folder of all runs.
        scale_name: ``demo`` or ``full``.
        stage_maps: also save what the stages make of one slice, for the figures.
        manifest: of the scans to train on; by default the bundle's.

    Returns:
        The run folder.
    """
    folder = runs / bundle.name / overlay / f"fold{fold}"
    where = {"overlay": overlay, "fold": fold, "dataset_dir": str(dataset_dir)}
    where |= {"output_dir": str(folder), "runs_dir": str(runs), "cache_dir": str(runs / ".cache")}
    training, later = where | {"resume": True}, where | {"overwrite": True}
    training |= {"manifest": str(manifest)} if manifest else {}
    steps = {"train.yaml": "train", "inference.yaml": "infer", "evaluate.yaml": None}
    for file, kind in steps.items():
        if file == "train.yaml" and not (bundle / "configs" / file).is_file():
            continue  # an ensemble
        options = training if kind == "train" else later
        flow = _workflow(bundle, [file], kind, scale_name, options)
        if file == "train.yaml" and _is_trained(folder, flow.parser["max_epochs"]):
            continue
        flow.initialize()
        flow.run()
        if file == "inference.yaml" and stage_maps:
            maps = _workflow(bundle, [file, "stage_maps.yaml"], kind, scale_name, options)
            maps.initialize()
            maps.run()
    return folder


def config_files(bundle: Path, files: list[str], overlay: str, scale_name: str) -> list[str]:
    """A bundle's files, the ablation's and the scale's, in the order they lie over each other."""
    configs = bundle / "configs"
    ablation = configs / "ablations" / f"{overlay}.yaml"
    found = [configs / file for file in files] + ([ablation] if ablation.is_file() else [])
    narrow = scale(scale_name)["config"]
    return [str(path) for path in [*found, *([configs / f"{narrow}.yaml"] if narrow else [])]]


def overrides(text: str, scale_name: str) -> dict[str, Any]:
    """The scale's options that a configuration of this text has."""
    kind = "patches" if "\npatch_size:" in text else "slices"
    found = {}
    for key, value in scale(scale_name)["options"].items():
        if f"\n{key}:" not in text:
            continue
        if isinstance(value, dict) and kind in value:
            found[key] = value[kind]
        elif isinstance(value, dict):
            found |= {f"{key}#{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found


def _workflow(
    bundle: Path, files: list[str], kind: str | None, scale_name: str, options: dict[str, Any]
) -> ConfigWorkflow:
    """A workflow; options that its file does not have are left out."""
    text = (bundle / "configs" / files[0]).read_text()
    known = {key: value for key, value in options.items() if f"\n{key}:" in text}
    return ConfigWorkflow(
        config_files(bundle, files, options["overlay"], scale_name),
        workflow_type=kind,
        logging_file=False,
        **overrides(text, scale_name),
        **known,
    )


def _is_trained(folder: Path, max_epochs: int) -> bool:
    """Whether the last checkpoint is that of the last epoch."""
    path = folder / "checkpoints" / "last.pt"
    if not path.is_file():
        return False
    trainer = torch.load(path, map_location="cpu", weights_only=True)["trainer"]
    done = trainer.get("epoch") or trainer["iteration"] // trainer["epoch_length"]
    return bool(trainer["max_epochs"] == max_epochs and done >= max_epochs)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--overlay", required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--scale", dest="scale_name", default="full")
    parser.add_argument("--stage-maps", action="store_true")
    parser.add_argument("--manifest", type=Path)
    options = vars(parser.parse_args())
    one_line_errors()
    folder = run(options.pop("bundle"), **options)
    dice = json.loads((folder / "summary.json").read_text())["metrics"]["dice"]["mean"]
    print(f"{folder}: mean Dice {dice}; {time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
