"""Errors a user can mend end a command with one line and its exit code, not a traceback."""

import sys
from types import TracebackType

from stroke_nets.errors import StrokeNetsError

INTERRUPTED = 75  # resumable; 0 done, 2 usage, 3 problems in the data


def find_error(error: BaseException | None) -> StrokeNetsError | None:
    """The project's own error inside a chain of exceptions, if there is one."""
    while error is not None and not isinstance(error, StrokeNetsError):
        error = error.__cause__ or error.__context__
    return error


def one_line_errors() -> None:
    """Make the interpreter report a `StrokeNetsError` that nobody caught in one line.

    MONAI wraps what its transforms and config parser raise; the cause is what the user needs.
    """
    previous = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        known = find_error(error)
        if known is None:
            previous(kind, error, traceback)
            return
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(known.exit_code)

    sys.excepthook = report
