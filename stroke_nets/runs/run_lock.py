"""Whether a training holds a run folder."""

import fcntl
import os
from pathlib import Path


def is_running(folder: Path) -> bool:
    """Whether another process trains into a run folder (``runs.run_folder`` locks it).

    Only for a process that holds no such lock itself: closing a file gives its lock up.
    """
    path = folder / ".lock"
    if not path.is_file():
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
