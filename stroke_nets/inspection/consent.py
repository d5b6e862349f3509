"""Require the user's consent before using code from a foreign bundle or run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stroke_nets.bundle_folders import bundles_root
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import (
    DAMAGED,
    findings,
    inspect_bundle,
    inspect_content,
    shown,
)
from stroke_nets.inspection.plain_config import read_config


def require_consent(bundle: Path, trust: bool) -> None:
    """Refuse a bundle that is not this repository's own, unless the user trusts it.

    Call it before MONAI parses any part of the bundle.

    Args:
        bundle: a folder or a zip.
        trust: whether the user gave ``--trust``.

    Raises:
        UsageError: it is not this repository's own, and is not trusted.
        DataError: a file does not match its checksum, trusted or not.
    """
    if bundle.resolve().is_relative_to(bundles_root().resolve()):
        return
    found = findings(inspect_bundle(bundle))
    damaged = [item for item in found if item.verdict == DAMAGED]
    if damaged:
        what = f"{damaged[0].file} is {damaged[0].why}"
        raise DataError(f"{bundle}: {what} ({len(damaged)} in all); get the bundle again")
    if not trust:
        raise UsageError(
            f"{bundle}: a bundle from elsewhere runs code ({len(found)} findings); read "
            f"'stroke-nets inspect {bundle}', then say --trust"
        )


def require_known_code(config: Path, trust: bool, parts: Sequence[str] = ()) -> dict[str, Any]:
    """The ``config.yaml`` of a run, if all its code is allowed or the user trusts it.

    Allowed is what `stroke_nets.inspection.allowed` lists, and what the bundles of this project
    hold at the same place. Nothing of the file is executed here.

    Args:
        config: the file.
        trust: whether the user gave ``--trust``.
        parts: the top-level entries that will be parsed; empty for all.

    Raises:
        UsageError: it holds other code, and is not trusted.
        DataError: it is no plain configuration, or too large, trusted or not.
    """
    content = read_config(config)
    found = [] if trust else findings(list(inspect_content(config.name, content, parts)))
    if found:
        raise UsageError(
            f"{config}: {shown(found[0].where)} runs code from elsewhere, "
            f"{shown(found[0].text)!r}: {shown(found[0].why)}; read it, then say --trust"
        )
    return content
