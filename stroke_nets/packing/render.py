"""Render a bundle's configurations as flat, self-contained JSON."""

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

LAYERS = {  # each workflow's file, and further files merged over it and the overlay if they exist
    "train": ["train"],
    "multi_gpu_train": ["train", "multi_gpu_train"],
    "accelerate": ["train", "accelerate"],
    "inference": ["inference", "packed"],
    "evaluate": ["evaluate"],
}


def rendered(bundle: Path, overlay: Path | None) -> dict[str, dict[str, Any]]:
    """A bundle's configurations by workflow, each with all overlays merged.

    There are two changes. Paths are relative to the bundle's folder, and ``initialize`` keeps only
    its first steps, which do not use the configuration; the others, which need data, move to the
    start of ``run`` (`monai.bundle.load` runs ``initialize`` even if only the network is needed).

    Args:
        bundle: its folder.
        overlay: a file merged over all workflows.
    """
    found = {}
    for name in LAYERS:
        base, *above = LAYERS[name]
        file = bundle / "configs" / f"{base}.yaml"
        if not file.is_file():
            continue  # an ensemble has no training
        files = [file, *([overlay] if overlay else []), *(file.with_stem(a) for a in above)]
        merged = ConfigParser.load_config_files([str(f) for f in files if f.is_file()])
        found[name] = _at_home(merged)
    return found


def _at_home(config: dict[str, Any]) -> dict[str, Any]:
    config["bundle_root"] = "."
    if "checkpoint" in config:
        config["checkpoint"] = "$@bundle_root + '/models/model.pt'"
    steps = config["initialize"]
    early = list(takewhile(lambda step: "@" not in str(step), steps))
    return config | {"initialize": early, "run": [*steps[len(early) :], *config["run"]]}


def described(metadata: dict[str, Any], inference: dict[str, Any]) -> dict[str, Any]:
    """A bundle's metadata, updated for sizes and channels that an overlay may change.

    The classes of ``pred`` are those of the mask, whose number may differ from the channels.

    Args:
        metadata: metadata of the bundle; modified in place.
        inference: the rendered configuration.
    """
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    shape = inference["patch_size"] if "patch_size" in inference else [inference["size"]] * 2
    image["spatial_shape"] = pred["spatial_shape"] = shape
    if "offsets" in inference:
        slices = [f"slice i{step:+d}" if step else "slice i" for step in inference["offsets"]]
        image |= {"num_channels": len(slices), "channel_def": _numbered(slices)}
    pred["channel_def"] = {"0": "background", "1": "stroke lesion"}  # the mask's, for MONAI Label
    pred["num_channels"] = inference.get("classes", 1)
    return metadata


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def as_json(content: dict[str, Any]) -> str:
    """Text of a JSON file."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
