"""Report errors that a user can fix in one line with an exit code, not a traceback."""

import errno
import os
import re
import signal
import sys
import threading
from types import TracebackType

from stroke_nets.errors import DataError, StrokeNetsError, UsageError
from stroke_nets.runs.interruption import Interrupted

# a loader worker's error arrives as text: its type and message
WORKERS_ERROR = re.compile(r"stroke_nets\.errors\.(DataError|UsageError): (.+)")
# MONAI's SaveImage keeps the traceback of its writer as text only
WRITERS_ERROR = re.compile(r"suitable writer.*\[Errno (\d+)\] [^\n]*: '([^'\n]+)'", re.DOTALL)
RUSTS_ERROR = re.compile(r"\(os error (\d+)\)")  # of safetensors
DEAD_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
SYSTEM = {  # operating-system errors and their fixes
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
    """The error in a chain of exceptions that a user can fix, if there is one."""
    told = True  # the error itself, or its explicit cause
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
    """Translate PyTorch errors that a user can fix."""
    text = str(error)
    if "in DataLoader worker process" in text and (said := WORKERS_ERROR.search(text)):
        return (DataError if said[1] == "DataError" else UsageError)(said[2])
    if said := WRITERS_ERROR.search(text):
        return _systems(OSError(int(said[1]), os.strerror(int(said[1])), said[2]))
    if said := RUSTS_ERROR.search(text):
        return _systems(OSError(int(said[1]), os.strerror(int(said[1]))))
    if DEAD_WORKER.search(text):
        if "Terminated" in text:  # the whole process group was told to stop
            return Interrupted(signal.SIGTERM, "its data loader was stopped first")
        return UsageError(
            "num_workers: a worker of the data loader was killed, most likely because memory (RAM "
            "or /dev/shm) ran out; use fewer, --num_workers 0 for none"
        )
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        where = "GPU memory" if "CUDA" in text else "memory (RAM)"
        return UsageError(
            f"out of {where}; close other programs that use it; a training needs less with a "
            "smaller --batch_size or --patch_size, a prediction with --fast or a coarser scan"
        )
    return None


def _systems(error: BaseException) -> StrokeNetsError | None:
    """Translate operating-system errors that a user can fix."""
    if isinstance(error, MemoryError) or type(error).__name__ == "BrokenProcessPool":
        return DataError("out of memory (RAM); use fewer workers, or close other programs")
    if not isinstance(error, OSError) or error.errno not in SYSTEM:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return DataError(f"{where}{error.strerror}; {SYSTEM[error.errno]}")


def one_line_errors() -> None:
    """Make the interpreter report uncaught errors that a user can fix in one line.

    MONAI wraps the errors of its transforms and config parser; the user needs the cause.
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
    threads = threading.excepthook
    # such as that of TensorBoard's thread on a full disk, which the main thread raises as well
    threading.excepthook = lambda told: None if find_error(told.exc_value) else threads(told)
