"""Progress bars on a terminal's stderr; none in files and pipes, or with ``--quiet``."""

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
    """A bar with the count, elapsed time and remaining time; the caller starts it."""
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
        redirect_stdout=sys.stdout.isatty(),  # otherwise piped output would go to the terminal too
    )
    atexit.register(bar.stop)  # restores the terminal's cursor however the process ends
    return bar


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate over items and show the progress.

    Args:
        items: the items.
        what: the description, such as ``reading scans``.
        total: the number of items, if they have no length.
    """
    with new_bar() as bar:
        yield from bar.track(items, total=total, description=what)
