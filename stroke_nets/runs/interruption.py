"""Stop a training immediately on SIGTERM and Ctrl-C, with one line that says what is saved."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75: interrupted and resumable


class Interrupted(KeyboardInterrupt):
    """The process received a signal to stop."""

    def __init__(self, number: int, saved: str) -> None:
        """Take the signal number and what is saved."""
        super().__init__(f"stopped by {signal.Signals(number).name}: {saved}")
        self.exit_code = EXIT_CODES[signal.Signals(number)]


def stop_on_signals(saved: Callable[[], str] = lambda: "nothing to save yet") -> None:
    """Make SIGTERM and SIGINT raise `Interrupted`; main thread only.

    Args:
        saved: returns what is saved, when a signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # an application that trains in a thread handles its own signals
    main = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != main:
            raise KeyboardInterrupt  # in a loader's worker, which PyTorch then ends quietly
        raise Interrupted(number, saved())

    for number in EXIT_CODES:
        signal.signal(number, stop)
