"""Check whether a training has locked a run folder."""

import fcntl
import os
from pathlib import Path


def is_running(folder: Path) -> bool:
    """Whether another process is training in a run folder (``runs.run_folder`` locks it).

    Do not call it in a process that holds such a lock: closing the file would release it.
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
