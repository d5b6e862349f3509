"""Errors that a user can fix end a command with one line and its exit code, not a traceback."""

import errno
import re
import signal
import sys
from types import TracebackType

from stroke_nets.errors import DataError, StrokeNetsError, UsageError
from stroke_nets.runs.interruption import Interrupted

# what a loader's worker raised arrives as text: its type, and the line it said
WORKERS_ERROR = re.compile(r"stroke_nets\.errors\.(DataError|UsageError): (.+)")
DEAD_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
SYSTEM = {  # errors of the operating system, and what a user can do about each
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EFBIG: "write to a place where files may be larger",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EACCES: "give another path, or change its permissions",
    errno.EPERM: "give another path, or change its permissions",
    errno.EROFS: "write to another place",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "use fewer workers, or raise the limit with 'ulimit -n 4096'",
    errno.ENFILE: "use fewer workers, or close other programs",
    errno.ENOTDIR: "give a path whose parents are folders",
    errno.EISDIR: "give a file instead of a folder",
    errno.EEXIST: "give another path, or remove what is there",
    errno.ENOENT: "check the path",
}


def find_error(error: BaseException | None) -> StrokeNetsError | Interrupted | None:
    """What a user can fix, inside a chain of exceptions, if there is such a thing."""
    told = True  # the error itself, or what an error says it was raised from
    while error is not None:
        known = _known(error) or (_systems(error) if told else None)
        if known is not None:
            return known
        if isinstance(error, StrokeNetsError | Interrupted):
            return error
        told = error.__cause__ is not None
        error = error.__cause__ or error.__context__
    return None


def _known(error: BaseException) -> StrokeNetsError | Interrupted | None:
    """PyTorch's errors that a user can fix, in this package's words."""
    text = str(error)
    if "in DataLoader worker process" in text and (said := WORKERS_ERROR.search(text)):
        return (DataError if said[1] == "DataError" else UsageError)(said[2])
    if DEAD_WORKER.search(text):
        if "Terminated" in text:  # the whole process group was asked to stop
            return Interrupted(signal.SIGTERM, "its data loader was stopped first")
        return UsageError(
            "num_workers: a worker of the data loader was killed, most likely because memory (RAM "
            "or /dev/shm) ran out; use fewer, --num_workers 0 for none"
        )
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        where = "GPU memory" if "CUDA" in text else "memory (RAM)"
        return UsageError(
            f"batch_size: out of {where}; use a smaller --batch_size (or --patch_size), or close "
            "other programs that use it"
        )
    return None


def _systems(error: BaseException) -> StrokeNetsError | None:
    """Errors of the operating system that a user can fix."""
    if isinstance(error, MemoryError) or type(error).__name__ == "BrokenProcessPool":
        return DataError("out of memory (RAM); use fewer workers, or close other programs")
    if not isinstance(error, OSError) or error.errno not in SYSTEM:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return DataError(f"{where}{error.strerror}; {SYSTEM[error.errno]}")


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
