"""Atomic writing of files, what killed processes leave behind, and recursive listing."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial_"  # the names of hidden folders begin with it
TEMPORARY = ".stroke-nets_"  # and of those in the system's folder for temporary files


@contextlib.contextmanager
def hidden_folder(parent: Path, prefix: str = PARTIAL) -> Iterator[Path]:
    """A new hidden folder for files that are being written, deleted at the end.

    It is locked as long as its process lives. Those that killed processes left in ``parent`` are
    deleted first.

    Args:
        parent: made if it does not exist.
        prefix: of its name, and of those that are deleted.
    """
    with naming(parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, prefix)
        hidden, handle = _new_locked(parent, prefix)
        try:
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            os.close(handle)


def temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """A hidden folder among the system's temporary files, swept like others."""
    return hidden_folder(Path(tempfile.gettempdir()), TEMPORARY)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name what could not be written: a full disk names nothing, a hidden file says nothing."""
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename  # of a copy, what was written
        if named is None or PARTIAL in str(named) or TEMPORARY in str(named):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def staged(folder: Path, order: Callable[[Path], Any] = str) -> Iterator[Path]:
    """A hidden folder whose files move into ``folder`` when the block succeeds.

    Args:
        folder: made if it does not exist.
        order: sort key of the files, which are moved one by one.
    """
    with hidden_folder(folder) as hidden:
        yield hidden
        for file in sorted(hidden.iterdir(), key=order):
            os.replace(file, folder / file.name)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file of the same name in a hidden folder, which replaces ``path`` if the block succeeds.

    A killed process leaves the original unchanged.

    Args:
        path: the file to write; its folder is made if it does not exist.
    """
    with hidden_folder(path.parent) as hidden, naming(path):
        yield hidden / path.name
        os.replace(hidden / path.name, path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sweep(folder: Path, prefix: str = PARTIAL) -> None:
    """Delete what killed processes left half written in a folder."""
    for path in _partial(folder, prefix):
        with contextlib.suppress(OSError):  # locked by a process that lives, or gone by now
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)


def sweep_below(root: Path) -> None:
    """`sweep` a folder and all below it, linked folders excepted."""
    for name, folders, _ in os.walk(root):
        sweep(Path(name))
        folders[:] = [one for one in folders if not one.startswith(".")]


def _partial(folder: Path, prefix: str) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry) for entry in entries if entry.name.startswith(prefix)]
    return []


def _new_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new hidden folder, and the open file that holds its lock."""
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # swept before it was locked
            handle = os.open(hidden, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks sweeps nothing
                fcntl.flock(handle, fcntl.LOCK_SH)
            if hidden.exists():
                return hidden, handle
            os.close(handle)


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a path below a folder is hidden, or a copy that macOS puts into archives."""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def paths_below(root: Path) -> list[Path]:
    """Files and folders below a folder, sorted; links are followed, each folder visited once.

    Links are followed last, so that what lies below the folder has its own path.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [root]
    for start in waiting:
        for name, folders, files in os.walk(start):
            place = os.path.realpath(name)
            if place in seen:  # two links to one folder, or a link to a parent
                folders.clear()
                continue
            seen.add(place)
            folders.sort()  # makes the path to a folder with several links deterministic
            found += [Path(name, one) for one in (*folders, *files)]
            waiting += [Path(name, one) for one in folders if os.path.islink(Path(name, one))]
    return sorted(found)
