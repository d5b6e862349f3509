"""One run in one process: train, predict, save stage maps if wanted, evaluate.

A complete training is kept and an interrupted one continues. ``summary.json`` is written last, so
a run without it is not done.
"""

from pathlib import Path
from typing import Any, get_args

from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import overlays
from stroke_nets.errors import DataError
from stroke_nets.papers.bench_runs import write_curve
from stroke_nets.papers.settings import scale
from stroke_nets.runs.bundle_run import FILES, Step, config_files, run_bundle
from stroke_nets.training import checkpoint_file

KINDS = {"slices", "patches"}  # of protocols, with options of their own
STOPS = ("max_epochs", "patience", "val_interval")  # options that end a training


def run_method(
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
        fold: of the manifest, held out; at bench scale, whose data have splits, the seed.
        dataset_dir: the data root.
        runs: the folder of all runs.
        scale_name: ``demo``, ``bench`` or ``full``.
        stage_maps: also save what the stages make of one slice, for the figures.
        manifest: of the scans to train on; by default the bundle's.

    Returns:
        The run folder.
    """
    folder = runs / bundle.name / overlay / f"fold{fold}"
    where = {"overlay": overlay, "fold": fold, "dataset_dir": str(dataset_dir)}
    where |= {"output_dir": str(folder), "runs_dir": str(runs), "cache_dir": str(runs / ".cache")}
    where |= {"resume": True, "overwrite": True}  # a training is resumed, masks are made again
    over = overlays_of(bundle, overlay, scale_name)
    for step in get_args(Step):
        if not (bundle / "configs" / FILES[step]).is_file():
            continue  # an ensemble has no training
        options = _known(bundle, step, where, scale_name)
        if step == "train" and manifest:
            options["manifest"] = str(manifest)
        if step != "train" or not _is_trained(folder, bundle, over, options):
            run_bundle(bundle, step, over, options)
        if step == "train" and "repeats" in scale(scale_name):
            write_curve(folder)
        if step == "infer" and stage_maps:
            run_bundle(bundle, step, ["stage_maps", *over], options)
    return folder


def overlays_of(bundle: Path, overlay: str, scale_name: str) -> list[str]:
    """The overlays of a run that the bundle has: the ablation, and the scale's over it."""
    names = (overlay, scale(scale_name)["config"])
    return [name for name in names if name in overlays(bundle)]


def overrides(text: str, scale_name: str) -> dict[str, Any]:
    """The scale's options that a configuration of this text has."""
    kind = "patches" if "\npatch_size:" in text else "slices"
    found: dict[str, Any] = {}
    for key, value in scale(scale_name)["options"].items():
        if f"\n{key.partition('#')[0]}:" not in text:
            continue
        if isinstance(value, dict) and value.keys() <= KINDS:
            found |= {key: value[kind]} if kind in value else {}
        elif isinstance(value, dict):
            found |= {f"{key}#{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found


def _known(bundle: Path, step: Step, where: dict[str, Any], scale_name: str) -> dict[str, Any]:
    """The options that a step's file has."""
    text = (bundle / "configs" / FILES[step]).read_text()
    known = {key: value for key, value in where.items() if f"\n{key}:" in text}
    if step == "train":
        known.pop("overwrite", None)
        if "repeats" in scale(scale_name):
            known |= {"part": "validation", "seed": where["fold"]}
    return overrides(text, scale_name) | known


def _is_trained(folder: Path, bundle: Path, over: list[str], options: dict[str, Any]) -> bool:
    """Whether a training has ended, by its number of epochs or early; not if damaged."""
    path = folder / "checkpoints" / checkpoint_file.LAST
    if not path.is_file():
        return False
    try:
        saved = checkpoint_file.read(path)
    except DataError:  # training falls back to the one before it
        return False
    trainer = saved["trainer"]
    done = trainer.get("epoch") or trainer["iteration"] // trainer["epoch_length"]
    config = ConfigParser.load_config_files(config_files(bundle, "train", over))
    asked = {key: options.get(key, config[key]) for key in STOPS}
    if trainer["max_epochs"] != asked["max_epochs"]:
        return False
    best, patience = saved.get("evaluator", {}).get("best_metric_epoch", -1), asked["patience"]
    stopped = best > 0 and patience and done - best >= patience * asked["val_interval"]
    return bool(done >= asked["max_epochs"] or stopped)
