"""Pack a bundle with its weights: a flat folder for MONAI and MONAI Label, and its zip."""

import json
import os
import posixpath
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from monai.bundle import ConfigParser
from safetensors.torch import save_file
from torch import Tensor, nn

from stroke_nets.bundle_folders import find_bundle, find_overlay, published_weights
from stroke_nets.errors import UsageError
from stroke_nets.files import hidden_folder
from stroke_nets.packing.archive import SUMS, file_sha256, write_archive, write_sums
from stroke_nets.packing.render import as_json, described, rendered
from stroke_nets.training.checkpoint import load_weights
from stroke_nets.training.checkpoint_file import saved

COPIES = ("LICENSE", "configs/logging.conf")
LEAVES = re.compile(r"\[([^\]]+)\]\((\.\./\.\./[^)]+)\)")  # a link out of the bundle
MODELS = ("models/model.pt", "models/model.safetensors")


class Packed(NamedTuple):
    """What `pack` wrote: the folder, its zip, and the zip's SHA-256."""

    folder: Path
    archive: Path
    sha256: str


def pack(name: str, out: Path, weights: Sequence[Path] = (), overlay: str | None = None) -> Packed:
    """Write a bundle as a self-contained folder and as a reproducible zip.

    Args:
        name: name of the bundle.
        out: folder for ``<bundle>[_<overlay>]`` and its versioned zip; created if necessary.
        weights: a checkpoint, or those of an ensemble's members in order; by default the bundle's
            published weights.
        overlay: merged into every configuration; by default that of the published weights.

    Raises:
        UsageError: the bundle, overlay, file or published weights do not exist, or the output does.
        DataError: a checkpoint cannot be read or belongs to another network, or the published one
            does not match its listed checksum.
    """
    bundle = find_bundle(name)
    entry: dict[str, Any] = {}
    if not weights:
        path, entry = published_weights(bundle, overlay, "--weights FILE")
        weights, overlay = [path], entry["overlay"]
    file = find_overlay(bundle, overlay or "default")
    configs = rendered(bundle, file)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    metadata = described(metadata, configs["inference"])
    stem = f"{name}_{file.stem}" if file else name
    folder, archive = out / stem, out / f"{stem}_v{metadata['version']}.zip"
    if archive.exists():
        raise UsageError(f"{archive}: is there already; delete it, or give another OUT")
    state = _state(configs["inference"], weights)
    metadata["weights"] = entry or {"file": [path.name for path in weights]}
    with hidden_folder(out) as hidden:
        built = hidden / stem
        _write_texts(built, bundle, configs | {"metadata": metadata})
        _write_models(built, state)
        write_sums(built)
        write_archive(built, hidden / archive.name)
        if not folder.exists():
            os.replace(built, folder)
        elif not _same_list(built, folder):  # otherwise it is that of a process which was killed
            raise UsageError(f"{folder}: is there already; delete it, or give another OUT")
        os.replace(hidden / archive.name, archive)
    return Packed(folder, archive, file_sha256(archive))


def _same_list(built: Path, folder: Path) -> bool:
    """Whether two folders list the same checksums."""
    lists = [one / SUMS for one in (built, folder)]
    return all(one.is_file() for one in lists) and lists[0].read_bytes() == lists[1].read_bytes()


def _state(inference: dict[str, Any], weights: Sequence[Path]) -> dict[str, Tensor]:
    """The content of ``model.pt``: the weights of the network, or of an ensemble's networks."""
    parser = ConfigParser(inference)
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    parts: dict[str, nn.Module] = {"": network}
    members = getattr(network, "networks", None)
    if isinstance(members, nn.ModuleList) and len(weights) > 1:
        parts = {f"networks.{number}.": member for number, member in enumerate(members)}
    if len(weights) != len(parts):
        raise UsageError(f"--weights: {len(weights)} files for {len(parts)} networks")
    state: dict[str, Tensor] = {}
    for (prefix, part), path in zip(parts.items(), weights, strict=True):
        loaded = load_weights(path, part)
        state |= {prefix + key: loaded[key].contiguous().clone() for key in part.state_dict()}
    return state


def _write_texts(folder: Path, bundle: Path, contents: dict[str, dict[str, Any]]) -> None:
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    for name in COPIES:
        shutil.copyfile(bundle / name, folder / name)
    for name, content in contents.items():
        (folder / "configs" / f"{name}.json").write_text(as_json(content))
    for picture in (bundle / "docs").glob("*.[ps][nv]g"):
        shutil.copyfile(picture, folder / "docs" / picture.name)
    card = standing_alone((bundle / "docs" / "README.md").read_text())
    (folder / "docs" / "README.md").write_text(
        card + _how_to_run(folder.name, contents["metadata"])
    )


def standing_alone(card: str) -> str:
    """A model card with links to other folders of the repository replaced by their paths."""

    def by_path(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("bundles/NAME/docs", link[2]))
        return f"{link[1]} (`{path}` of the stroke-nets repository)"

    card = LEAVES.sub(by_path, card)
    return card.replace("`bundles/README.md`", "`bundles/README.md` of the stroke-nets repository")


def _how_to_run(name: str, metadata: dict[str, Any]) -> str:
    needed = ", ".join(f"{k} {v}" for k, v in metadata["required_packages_version"].items())
    run = f"python -m monai.bundle run inference --bundle_root {name}"
    return f"""
## This package

Made by `stroke-nets pack`. Its weights: `{json.dumps(metadata["weights"], ensure_ascii=False)}`.
It needs {needed}.

```
{run} --config_file {name}/configs/inference.json --dataset_dir DATA
```

`SHA256SUMS` lists every file; `stroke-nets unpack` compares them before anything is written.
"""


def _write_models(folder: Path, state: dict[str, Tensor]) -> None:
    (folder / MODELS[0]).write_bytes(saved(state))
    save_file(state, folder / MODELS[1])
    files = [
        {"path": name, "url": "", "hash_val": file_sha256(folder / name), "hash_type": "sha256"}
        for name in MODELS
    ]
    text = yaml.safe_dump({"large_files": files}, sort_keys=False)
    (folder / "large_files.yml").write_text(
        "# url: where the file lies, if not in this folder\n" + text
    )
