"""A bundle as MONAI Label reads it: one JSON file for each task, and ``models/model.pt``."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import find_bundle, find_overlay, overlays
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import CODE
from stroke_nets.training.checkpoint_file import saved
from stroke_nets.training.weights import load_weights

MASK_CLASSES = {"0": "background", "1": "stroke lesion"}


@dataclass(frozen=True)
class ServedWeights:
    """What a bundle's network gets.

    Attributes:
        overlay: the configuration that the weights were trained with.
        file: a checkpoint; random weights if None.
    """

    overlay: str = "default"
    file: Path | None = None


def rendered(bundle: Path, file: str, overlay: str) -> dict[str, Any]:
    """A configuration with an overlay merged into it.

    Raises:
        UsageError: the bundle has no such overlay.
    """
    files = [bundle / "configs" / file, find_overlay(bundle, overlay)]
    return dict(ConfigParser.load_config_files([str(f) for f in files if f]))


def for_inference(config: dict[str, Any]) -> dict[str, Any]:
    """The inference configuration with its members' weights, if it has members, beside it."""
    if "members" in config:
        config["member"] = "$@bundle_root + '/models/members/{}.pt'"
    return config


def for_training(config: dict[str, Any]) -> dict[str, Any]:
    """The training configuration, writing into the bundle's folder.

    MONAI Label sets the trainer's epochs; the learning rate's schedule follows them.
    """
    trainer = config["train"]["trainer"]
    trainer["max_epochs"], config["max_epochs"] = config["max_epochs"], "@train#trainer#max_epochs"
    config["output_dir"] = "$@bundle_root + '/runs'"
    config["cache_dir"] = "$@bundle_root + '/cache'"
    config["overwrite"] = True
    config["train"]["handlers"].append(
        {
            "_target_": "stroke_nets.monai_label.trained_weights.TrainedWeights",
            "network": "@network",
            "folder": "$@bundle_root + '/models'",
            "evaluator": "@validate#evaluator",
        }
    )
    return config


def write_weights(bundle: Path, weights: ServedWeights, path: Path) -> None:
    """Write a network's weights as a bare state dict.

    Raises:
        UsageError: the file is missing, damaged or holds those of another network.
    """
    parser = ConfigParser(rendered(bundle, "inference.yaml", weights.overlay))
    torch.manual_seed(0)
    with torch.device("meta" if weights.file else "cpu"):
        network = parser.get_parsed_content("network_def")
    state = network.state_dict()
    if weights.file:
        try:
            state = load_weights(weights.file, network)
        except DataError as error:
            raise UsageError(str(error)) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved(state))


def copy_bundle(bundle: Path, choose: Callable[[Path], ServedWeights], out: Path) -> None:
    """Write a bundle for MONAI Label.

    Args:
        bundle: its folder. One whose ``inference.yaml`` names ``members`` has no weights of its
            own: those of the members are written beside it.
        choose: gives the weights of a bundle, for its folder.
        out: the folder to write, which is not there yet.

    Raises:
        UsageError: there are no weights, or they do not fit.
    """
    members = rendered(bundle, "inference.yaml", "default").get("members")
    chosen = {name: choose(find_bundle(name)) for name in members or [bundle.name]}
    overlay, *others = {weights.overlay for weights in chosen.values()}
    if others:
        raise UsageError(f"bundle {bundle.name}: its members' weights are of different overlays")
    models = out / "models"
    for name, weights in chosen.items():
        file = f"members/{name}.pt" if members else "published.pt"
        write_weights(find_bundle(name), weights, models / file)
    if members:
        (models / "model.pt").write_bytes(saved({}))  # without it MONAI Label ignores a bundle
    else:
        shutil.copyfile(models / "published.pt", models / "model.pt")  # a training replaces it
    _write_configs(bundle, overlay, out / "configs")


def require_own_copy(bundle: Path, copy: Path) -> None:
    """Refuse a copy that this package would not have written: the server executes it.

    Args:
        bundle: the original's folder.
        copy: what `copy_bundle` wrote, with the weights and runs of trainings.

    Raises:
        UsageError: its configurations are those of no overlay, or it holds code.
    """
    code = [path.name for path in copy.rglob("*") if path.name.lower().endswith(CODE)]
    with tempfile.TemporaryDirectory() as folder:
        for overlay in ("default", *overlays(bundle)):
            written = Path(folder) / overlay
            try:
                _write_configs(bundle, overlay, written)
            except (KeyError, ValueError):  # an overlay of another task
                continue
            if not code and _content(written) == _content(copy / "configs"):
                return
    what = code[0] if code else "configs"
    raise UsageError(
        f"--app: {copy}: {what} is not from this version of this package; give another --app"
    )


def _content(folder: Path) -> dict[str, bytes]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}


def _write_configs(bundle: Path, overlay: str, out: Path) -> None:
    out.mkdir()
    configs = bundle / "configs"
    inference = for_inference(rendered(bundle, "inference.yaml", overlay))
    ConfigParser.export_config_file(inference, out / "inference.json", indent=1)
    if (configs / "train.yaml").is_file():
        train = for_training(rendered(bundle, "train.yaml", overlay))
        ConfigParser.export_config_file(train, out / "train.json", indent=1)
        shutil.copy(configs / "multi_gpu_train.yaml", out)
    shutil.copy(configs / "logging.conf", out)
    metadata = json.loads((configs / "metadata.json").read_text())
    # the network's channels may be otherwise; MONAI Label takes these for the mask's values
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = MASK_CLASSES
    (out / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")
