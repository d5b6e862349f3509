"""Locate the bundles, their overlays and their published weights.

Bundles are in the clone's ``bundles/``, or its copy inside an installed package.
"""

import json
import os
from pathlib import Path
from typing import Any

from stroke_nets.errors import DataError, UsageError, did_you_mean
from stroke_nets.scans.contrast import T1W
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
    bundle: Path, overlay: str | None, option: str, contrast: str = T1W
) -> tuple[Path, dict[str, Any]]:
    """The file and entry of the first published weights of a contrast, or of those of an overlay.

    Args:
        bundle: its folder.
        overlay: the overlay that the weights were trained with; None for any of that contrast.
        option: the option that selects other weights, for the message.
        contrast: of the scans that they segment.

    Raises:
        UsageError: there are no such weights.
        DataError: the file does not match its checksum.
    """
    if overlay is None:
        entries = _of_contrast(bundle, contrast)
    else:
        entries = [entry for entry in weights_list(bundle) if entry["overlay"] == overlay]
    if not entries:
        wanted = f" of {contrast}" if overlay is None else f" with overlay {overlay}"
        raise UsageError(
            f"{bundle.name}: no published weights{wanted}; there are some of "
            f"{', '.join(with_weights(contrast)) or 'none'}; or train it and give {option}"
        )
    file = bundle / "models" / entries[0]["file"]
    if not file.is_file() or sha256(file) != entries[0]["sha256"]:
        raise DataError(f"{file}: missing, or not what {LISTED} lists; restore it")
    return file, entries[0]


def with_weights(contrast: str = T1W) -> list[str]:
    """The bundles with published weights of a contrast, the best first.

    Sorted by the Dice of their first weights on the real scans tried, or else on simulated ones.
    """
    first = {name: _of_contrast(find_bundle(name), contrast)[:1] for name in bundle_names()}
    dice = {
        name: [found[0].get(f"dice_{kind}", 0.0) for kind in ("real", "simulated")]
        for name, found in first.items()
        if found
    }
    return sorted(dice, key=lambda name: dice[name], reverse=True)


def _of_contrast(bundle: Path, contrast: str) -> list[dict[str, Any]]:
    """The entries of the list whose weights segment scans of a contrast."""
    return [one for one in weights_list(bundle) if one.get("contrast", T1W) == contrast]
