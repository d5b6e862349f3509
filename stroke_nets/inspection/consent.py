"""Require the user's consent before using code from a foreign bundle or run."""

from collections.abc import Sequence
from pathlib import Path

from stroke_nets.bundle_folders import bundle_names, bundles_root
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import DAMAGED, findings, inspect_bundle, inspect_config


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


def require_known_code(config: Path, trust: bool, parts: Sequence[str] = ()) -> None:
    """Refuse a run's ``config.yaml`` with code that no bundle of this repository contains.

    Known code is ours, MONAI's, PyTorch's and what these bundles use from other packages.

    Call it before MONAI parses any part of the file.

    Args:
        config: the file.
        trust: whether the user gave ``--trust``.
        parts: the top-level entries that will be parsed; empty for all.

    Raises:
        UsageError: it contains such code, and is not trusted.
    """
    if trust:
        return
    found = findings(list(inspect_config(config.name, config.read_bytes())))
    if parts:
        found = [item for item in found if item.where.split("#")[0] in parts]
    own = {item.text for name in bundle_names() for item in inspect_bundle(name)} if found else ()
    for item in found:
        if item.text not in own:
            raise UsageError(
                f"{config}: {item.where} runs code from elsewhere, {item.text!r}; read it, then "
                "say --trust"
            )
