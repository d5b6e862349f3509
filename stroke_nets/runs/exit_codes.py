"""Errors a user can fix end a command with one line and its exit code, not a traceback."""

import re
import sys
from types import TracebackType

from stroke_nets.errors import DataError, StrokeNetsError, UsageError
from stroke_nets.runs.interruption import Interrupted

# what a loader's worker raised arrives as text: its type, and the line it said
WORKERS_ERROR = re.compile(r"stroke_nets\.errors\.(DataError|UsageError): (.+)")
DEAD_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")


def find_error(error: BaseException | None) -> StrokeNetsError | Interrupted | None:
    """What a user can fix, inside a chain of exceptions, if there is such a thing."""
    while error is not None:
        if (known := _known(error)) is not None:
            return known
        if isinstance(error, StrokeNetsError | Interrupted):
            return error
        error = error.__cause__ or error.__context__
    return None


def _known(error: BaseException) -> StrokeNetsError | None:
    """PyTorch's errors that a user can fix, in this package's words."""
    text = str(error)
    if "in DataLoader worker process" in text and (said := WORKERS_ERROR.search(text)):
        return (DataError if said[1] == "DataError" else UsageError)(said[2])
    if DEAD_WORKER.search(text):
        return UsageError(
            "num_workers: a worker of the data loader was killed, most likely for want of memory "
            "(RAM or /dev/shm); take fewer, --num_workers 0 for none"
        )
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        where = "GPU memory" if "CUDA" in text else "memory (RAM)"
        return UsageError(
            f"batch_size: out of {where}; take a smaller --batch_size (or --patch_size), or end "
            "what else uses it"
        )
    return None


def one_line_errors() -> None:
    """Make the interpreter report in one line what nobody caught and a user can fix.

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
