"""The ``stroke-nets`` command.

Nothing is imported here that takes long to load, so that a signal is understood from the start.
"""

import os
import pwd
import signal
import sys
from typing import Any

from stroke_nets.runs.interruption import EXIT_CODES, Interrupted, stop_on_signals

RESUME = "what is finished is kept; give the same command again to continue"


def main() -> None:
    """Run the command; errors that a user can fix are reported in one line, not a traceback."""
    stop_on_signals(lambda: RESUME)
    try:
        name_the_user()
        _application()(prog_name="stroke-nets")
    except Interrupted as stop:  # while the commands were imported
        print(f"error: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)
    finally:
        for number in EXIT_CODES:  # how the command ended is settled
            signal.signal(number, signal.SIG_IGN)


def __getattr__(name: str) -> Any:
    """Import ``app``, the application with all its commands, on first access."""
    if name == "app":
        return _application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _application() -> Any:
    from stroke_nets.commands import (  # noqa: F401 - they register
        bids,
        data,
        jobs,
        papers,
        predict,
        share,
        train,
    )
    from stroke_nets.commands.app import app

    return app


def name_the_user() -> None:
    """Set a name for a user without an account, as in containers; MONAI needs it on import."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"user{os.getuid()}")
