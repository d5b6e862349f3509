"""What ``settings.json`` says of the scales and of who needs whom."""

import functools
import json
from importlib import resources
from typing import Any

from stroke_nets.errors import UsageError


@functools.cache
def settings() -> dict[str, Any]:
    """The whole file."""
    path = resources.files("stroke_nets.papers") / "settings.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def scale(name: str) -> dict[str, Any]:
    """A scale by its name.

    Raises:
        UsageError: there is no such scale.
    """
    known = settings()["scales"]
    if name not in known:
        raise UsageError(f"--scale {name}: choose among {', '.join(known)}")
    found: dict[str, Any] = known[name]
    return found
