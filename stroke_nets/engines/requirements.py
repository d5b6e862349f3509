"""Packages that only some bundles need."""

import importlib.util

from stroke_nets.errors import UsageError


def require_without_dependencies(package: str) -> None:
    """Refuse to go on without a package whose declared dependencies must not be installed.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{package}: not installed; run python -m pip install --no-deps {package} "
            "(its dependencies would replace PyTorch)"
        )
