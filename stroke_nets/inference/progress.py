"""How far a command is: a moving bar on a terminal, a line for each step elsewhere."""

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Steps(AbstractContextManager["Steps"]):
    """Say on stderr what is being done to which scan, from the first second.

    Args:
        scans: how many there are.
        quiet: say nothing.
    """

    def __init__(self, scans: int, quiet: bool = False) -> None:
        """Nothing is shown before the block begins."""
        self.scans, self.quiet, self.number = scans, quiet, 0
        self.console = Console(stderr=True)
        self.moving = self.console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.moving,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None)
        self.name, self.begin = "", time.monotonic()

    def __enter__(self) -> "Steps":
        """Begin to show."""
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        """Take the bar away."""
        self.bar.stop()

    def scan(self, name: str) -> None:
        """The next scan begins."""
        self.number, self.name, self.begin = self.number + 1, name, time.monotonic()

    def step(self, what: str) -> None:
        """The next step of the scan begins; how long it takes is not known."""
        text = f"{self.name} ({self.number} of {self.scans}): {what}" if self.name else what
        self.bar.reset(self.task, description=text, total=None)
        if not (self.quiet or self.moving):
            print(f"{text} ({time.monotonic() - self.begin:.0f} s)", file=sys.stderr, flush=True)

    def tile(self, done: int, total: int) -> None:
        """So many of the step's parts are done."""
        self.bar.update(self.task, completed=done, total=total)
