"""Progress bars on a terminal's stderr; nothing in files and pipes, nor with ``--quiet``."""

import atexit
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

HIDDEN = "STROKE_NETS_NO_PROGRESS"  # environment variable that --quiet sets
T = TypeVar("T")


def new_bar() -> Progress:
    """A bar with the number done, the time passed and the time left; it is started by its user."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal or HIDDEN in os.environ,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed would go to the terminal too
    )
    atexit.register(bar.stop)  # however the process ends, the terminal gets its cursor back
    return bar


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Go through items and show how far that is.

    Args:
        items: whatever is gone through.
        what: is being done, such as ``reading scans``.
        total: the number of items, if they do not know it themselves.
    """
    with new_bar() as bar:
        yield from bar.track(items, total=total, description=what)
