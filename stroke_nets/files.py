"""Files whole or not at all, and everything below a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden file of this process beside a path, which replaces it when the block ends well.

    A killed process leaves the file as it was. The hidden one has the path's ending.

    Args:
        path: the file to write; its folder is there.
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
    """Write a text file whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def paths_below(root: Path) -> list[Path]:
    """Files and folders below a folder, sorted; linked folders are entered, each folder once."""
    found, seen = [], set()
    for name, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(name)
        if place in seen:  # two links to one folder, or one to a folder above
            folders.clear()
            continue
        seen.add(place)
        folders.sort()  # of two ways to a folder, always the same one is taken
        found += [Path(name, one) for one in (*folders, *files)]
    return sorted(found)
