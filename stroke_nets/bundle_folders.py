"""Locate the bundles, their overlays and their published weights.

Bundles are in the clone's ``bundles/``, or its copy inside an installed package.
"""

import json
import os
from pathlib import Path
from typing import Any

from stroke_nets.errors import DataError, UsageError, did_you_mean
from stroke_nets.scans.reader import sha256

WORKFLOWS = ("train", "multi_gpu_train", "inference", "evaluate", "packed")  # no overlays
LISTED = "models/weights.json"


def bundles_root() -> Path:
    """The folder of all bundles: ``STROKE_NETS_BUNDLES``, or the installed or the clone's.

    Raises:
        UsageError: there is no such folder.
    """
    named = os.environ.get("STROKE_NETS_BUNDLES")
    package = Path(__file__).parent
    installed = package / "bundles"
    root = Path(named) if named else installed if installed.is_dir() else package.parent / "bundles"
    if not root.is_dir():
        raise UsageError(f"bundles: no folder {root}; restore it, or set STROKE_NETS_BUNDLES")
    return root


def bundle_names() -> list[str]:
    """The names of all bundles, sorted.

    Raises:
        UsageError: there is no folder of bundles.
    """
    return sorted(p.parents[1].name for p in bundles_root().glob("*/configs/metadata.json"))


def find_bundle(name: str) -> Path:
    """The folder of a bundle, by its name.

    Raises:
        UsageError: no bundle has that name.
    """
    names = bundle_names()
    if name not in names:
        hint = did_you_mean(name, names) or f"; choose from {', '.join(names)}"
        raise UsageError(f"bundle {name}: there is none in {bundles_root()}{hint}")
    return bundles_root() / name


def overlays(bundle: Path) -> dict[str, Path]:
    """A bundle's overlay files, by name."""
    files = {file.stem: file for file in sorted(bundle.glob("configs/**/*.yaml"))}
    return {name: file for name, file in files.items() if name not in WORKFLOWS}


def find_overlay(bundle: Path, name: str) -> Path | None:
    """An overlay's file, by name with or without its folder; None for ``default``.

    Raises:
        UsageError: the bundle has no overlay of that name.
    """
    if name == "default":
        return None
    known = overlays(bundle)
    named = bundle / "configs" / f"{name}.yaml"  # ablations/without_cpa
    for stem, file in known.items():
        if name == stem or named == file:
            return file
    hint = did_you_mean(name, known) or f"; choose from {', '.join(sorted(known))}"
    raise UsageError(f"--overlay {name}: {bundle.name} has none of that name{hint}")


def weights_list(bundle: Path) -> list[dict[str, Any]]:
    """The entries of a bundle's list of published weights; empty if there is no list.

    Raises:
        DataError: the list cannot be read.
    """
    path = bundle / LISTED
    if not path.is_file():
        return []
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        [(e["file"], e["overlay"], e["sha256"], e["trained_on"]) for e in entries]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not a list of weights ({error}); restore the file") from error
    return entries


def published_weights(
    bundle: Path, overlay: str | None, option: str
) -> tuple[Path, dict[str, Any]]:
    """The file and entry of the first published weights, or of those of an overlay.

    Args:
        bundle: its folder.
        overlay: the overlay that the weights were trained with; None for any.
        option: the option that selects other weights, for the message.

    Raises:
        UsageError: there are no such weights.
        DataError: the file does not match its checksum.
    """
    entries = [e for e in weights_list(bundle) if overlay in (None, e["overlay"])]
    if not entries:
        wanted = "" if overlay is None else f" with overlay {overlay}"
        raise UsageError(
            f"{bundle.name}: no published weights{wanted}; there are some of "
            f"{', '.join(with_weights()) or 'none'}; or train it and give {option}"
        )
    file = bundle / "models" / entries[0]["file"]
    if not file.is_file() or sha256(file) != entries[0]["sha256"]:
        raise DataError(f"{file}: missing, or not what {LISTED} lists; restore it")
    return file, entries[0]


def with_weights() -> list[str]:
    """The bundles with published weights, the best first.

    Sorted by the Dice of their first weights on the one real scan tried, or else on simulated ones.
    """
    first = {name: weights_list(find_bundle(name))[:1] for name in bundle_names()}
    dice = {
        name: [found[0].get(f"dice_{kind}", 0.0) for kind in ("real", "simulated")]
        for name, found in first.items()
        if found
    }
    return sorted(dice, key=lambda name: dice[name], reverse=True)
