"""Atomic file writing and recursive listing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden temporary file next to ``path``, which replaces it if the block succeeds.

    A killed process leaves the original unchanged. The hidden file has the same extension.

    Args:
        path: the file to write; its folder must exist.
    """
    partial = path.with_name(f".partial_{os.getpid()}_{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename in (None, str(partial)):  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def paths_below(root: Path) -> list[Path]:
    """Files and folders below a folder, sorted; links are followed, each folder visited once."""
    found, seen = [], set()
    for name, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(name)
        if place in seen:  # two links to one folder, or a link to a parent
            folders.clear()
            continue
        seen.add(place)
        folders.sort()  # makes the path to a folder with several links deterministic
        found += [Path(name, one) for one in (*folders, *files)]
    return sorted(found)
