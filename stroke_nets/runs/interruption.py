"""SIGTERM and Ctrl-C end a training at once, with one line that says what is saved."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75: interrupted, to be resumed


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to stop."""

    def __init__(self, number: int, saved: str) -> None:
        """Name the signal and what is saved."""
        super().__init__(f"stopped by {signal.Signals(number).name}: {saved}")
        self.exit_code = EXIT_CODES[signal.Signals(number)]


def stop_on_signals(saved: Callable[[], str] = lambda: "nothing to save yet") -> None:
    """Let SIGTERM and SIGINT raise `Interrupted` from now on; main thread only.

    Args:
        saved: says what is saved, when a signal comes.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # an application that trains in a thread has its own signals
    main = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != main:
            raise KeyboardInterrupt  # a loader's worker, which PyTorch ends quietly
        raise Interrupted(number, saved())

    for number in EXIT_CODES:
        signal.signal(number, stop)
