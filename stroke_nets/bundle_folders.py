"""Where the bundles lie: the clone's ``bundles/``, whatever the working directory."""

import os
from pathlib import Path

from stroke_nets.errors import UsageError, did_you_mean


def bundles_root() -> Path:
    """The folder of all bundles: ``STROKE_NETS_BUNDLES``, else the clone's.

    Raises:
        UsageError: there is no such folder.
    """
    named = os.environ.get("STROKE_NETS_BUNDLES")
    root = Path(named) if named else Path(__file__).parents[1] / "bundles"
    if not root.is_dir():
        raise UsageError(f"bundles: no folder {root}; use a clone, or set STROKE_NETS_BUNDLES")
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
