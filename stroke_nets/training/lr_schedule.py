"""Step the learning rate's scheduler once an epoch."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine
from monai.handlers import LrScheduleHandler


class LrSchedule(LrScheduleHandler):
    """MONAI's handler, silent.

    Args:
        lr_scheduler: stepped when an epoch ends.
        step_takes: gives what a step takes, as a tuple, from the trainer; None: nothing.
    """

    def __init__(
        self, lr_scheduler: Any, step_takes: Callable[[Engine], tuple[Any, ...]] | None = None
    ) -> None:
        """Store the options."""
        takes = step_takes or (lambda engine: ())
        super().__init__(lr_scheduler, print_lr=False, step_transform=takes)
