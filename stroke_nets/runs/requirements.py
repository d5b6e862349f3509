"""Check for packages that only some commands or bundles need, and for the requested device."""

import importlib.util
from typing import Any

from stroke_nets.errors import UsageError


def require_without_dependencies(package: str) -> None:
    """Require a package that must be installed without its declared dependencies.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{package}: not installed; run python -m pip install --no-deps {package} "
            "(its dependencies would replace PyTorch)"
        )


def require_extra(package: str, extra: str, use: str) -> None:
    """Require a package that an extra installs.

    Args:
        package: the name on the package index, which is also the import name.
        extra: one of ``[project.optional-dependencies]`` in pyproject.toml.
        use: what needs the package, for the message.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{use}: needs {package}, of the extra [{extra}]; run: python -m pip install {package}"
        )


def require_device(device: Any) -> None:
    """Refuse an unavailable device before anything is moved to it.

    Args:
        device: a `torch.device`, or its name.

    Raises:
        UsageError: it is not a device, or a GPU that PyTorch does not see.
    """
    import torch

    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {device}: no such device; give cpu, cuda or cuda:1") from error
    seen = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= seen:
        raise UsageError(f"device {device}: PyTorch sees {seen} GPUs here; say --device cpu")
