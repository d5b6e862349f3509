"""Step the learning-rate scheduler once per epoch."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine
from monai.handlers import LrScheduleHandler


class LrSchedule(LrScheduleHandler):
    """MONAI's handler without its log messages.

    Args:
        lr_scheduler: stepped at the end of each epoch.
        step_takes: returns the step's arguments as a tuple, given the trainer; None: no arguments.
    """

    def __init__(
        self, lr_scheduler: Any, step_takes: Callable[[Engine], tuple[Any, ...]] | None = None
    ) -> None:
        """Store the options."""
        takes = step_takes or (lambda engine: ())
        super().__init__(lr_scheduler, print_lr=False, step_transform=takes)
