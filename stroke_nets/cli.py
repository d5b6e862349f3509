"""The ``stroke-nets`` command."""

import os
import pwd

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
from stroke_nets.runs.interruption import stop_on_signals

RESUME = "what is finished is kept; give the same command again to continue"


def main() -> None:
    """Run the command; errors that a user can fix are reported in one line, not a traceback."""
    name_the_user()
    stop_on_signals(lambda: RESUME)
    app(prog_name="stroke-nets")


def name_the_user() -> None:
    """Set a name for a user without an account, as in containers; MONAI needs it on import."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"user{os.getuid()}")
