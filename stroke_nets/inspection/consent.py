"""A bundle from elsewhere is used only after its user has seen what it runs."""

from pathlib import Path

from stroke_nets.bundle_folders import bundles_root
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import DAMAGED, findings, inspect_bundle


def require_consent(bundle: Path, trust: bool) -> None:
    """Refuse a bundle that is not this repository's own, unless the user trusts it.

    Call it before anything of the bundle is parsed by MONAI.

    Args:
        bundle: a folder or a zip.
        trust: the user said ``--trust``.

    Raises:
        UsageError: it is not this repository's own, and was not trusted.
        DataError: a file is not what its checksum says, trusted or not.
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
