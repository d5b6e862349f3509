"""An on-disk cache of decoded volumes, memory-mapped and verified by checksums.

An entry is a folder whose name is a hash of everything that its arrays depend on: the bytes of the
source files, the transform's settings, the decoding code, and the versions of this package and
MONAI. It contains one ``.npy`` per array and ``entry.json`` with their SHA-256. Any entry that does
not match exactly is made again. Entries are created under a temporary name and renamed, so several
processes may share a cache. Nothing in it is ever unpickled.
"""

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.scans.reader import sha256

Arrays = dict[str, np.ndarray]
ENTRY = "entry.json"
DAY = 86400  # seconds; older leftovers of interrupted processes are deleted
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CODE = (
    "training/cache.py",
    "scans/geometry.py",
    "scans/reader.py",
    "scans/voxels.py",
    "transforms/*.py",
)


class VolumeCache:
    """Cached arrays that one transform makes from source files.

    Args:
        folder: created if necessary, for this user only (mode 0700).
        transform: deterministic; its settings are part of every key.

    Raises:
        UsageError: the folder belongs to another user.
    """

    def __init__(self, folder: Path, transform: Callable) -> None:
        """Open the folder and delete what interrupted processes left there."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            folder.chmod(0o700)
        except PermissionError as error:
            what = "belongs to another user; give another --cache_dir"
            raise UsageError(f"cache_dir {folder}: {what}") from error
        self.recipe = (
            f"{stroke_nets.__version__} {monai.__version__} {_code()} {settings(transform)}"
        )
        for left in folder.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # another process has finished it
                if time.time() - left.stat().st_mtime > DAY:
                    shutil.rmtree(left, ignore_errors=True)

    def get(
        self, sources: Sequence[Path], make: Callable[[], Mapping[str, np.ndarray]], about: str = ""
    ) -> Arrays:
        """The memory-mapped arrays of some files, made if they are missing or damaged.

        Args:
            sources: the source files.
            make: makes the arrays; its exceptions about invalid sources are passed on.
            about: anything else that the arrays depend on.

        Raises:
            DataError: the disk is full.
        """
        key = hashlib.sha256(f"{self.recipe} {about} {[*map(_digest, sources)]}".encode())
        entry = self.folder / key.hexdigest()[:40]
        return _sound(entry) or self._write(entry, make())

    def _write(self, entry: Path, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Write an entry atomically and return its memory-mapped arrays."""
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=self.folder))
        try:
            files = {name: temporary / f"{name}.npy" for name in arrays}
            for name, file in files.items():
                buffer = io.BytesIO()  # into a file, NumPy may cut an array without an error
                np.save(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
                file.write_bytes(buffer.getbuffer())
            sums = {name: sha256(file) for name, file in files.items()}
            (temporary / ENTRY).write_text(json.dumps(sums))
            written = _mapped(files)
            _put(temporary, entry)
        except OSError as error:
            if error.errno not in FULL:
                raise
            need = sum(array.nbytes for array in arrays.values()) / 1e6
            free = shutil.disk_usage(self.folder).free / 1e6
            raise DataError(
                f"cache_dir {self.folder}: the disk is full: {need:.1f} MB are needed for this "
                f"scan, {free:.1f} MB are free; make room or give another --cache_dir"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return written


def _put(temporary: Path, entry: Path) -> None:
    """Rename a finished entry to its final name, unless another process was faster."""
    if entry.exists() and _sound(entry) is None:
        aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=entry.parent))
        with contextlib.suppress(FileNotFoundError):  # another process did it
            os.replace(entry, aside)
        shutil.rmtree(aside)
    try:
        os.replace(temporary, entry)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _sound(entry: Path) -> Arrays | None:
    """An entry's arrays, if every byte is as written."""
    try:
        sums = json.loads((entry / ENTRY).read_text())
        files = {name: entry / f"{name}.npy" for name in sums}
        if any(sha256(file) != sums[name] for name, file in files.items()):
            return None
        return _mapped(files)
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # missing or damaged, so it is made again


def _mapped(files: Mapping[str, Path]) -> Arrays:
    return {n: np.load(file, mmap_mode="r", allow_pickle=False) for n, file in files.items()}


def _digest(source: Path) -> str:
    try:
        return sha256(source)
    except OSError as error:
        return str(error)  # the reader reports the problem


def _code() -> str:
    """Checksum of the decoding code, so that a changed transform gets new entries."""
    root = Path(stroke_nets.__file__).parent
    files = sorted(file for pattern in CODE for file in root.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _references(function: types.FunctionType) -> dict[str, Any]:
    """Values of the ``@`` references in a configuration's lambda, from its globals."""
    known = function.__globals__.get("__local_refs", {})
    return {name: known[name] for name in function.__code__.co_consts if name in known}


def settings(thing: Any) -> str:
    """Everything that determines a transform's result, as text independent of run and seed.

    MONAI's ``pickle_hashing`` includes the random state of every ``Compose``, which differs between
    processes.

    Args:
        thing: a transform, or any of its attributes.
    """
    if isinstance(thing, np.random.RandomState | np.random.Generator):
        return "random"
    if isinstance(thing, Mapping):  # a thread's notes (MONAI's _tracing) appear when it is used
        kept = {k: value for k, value in thing.items() if not isinstance(value, threading.local)}
        return str(sorted((str(key), settings(value)) for key, value in kept.items()))
    if isinstance(thing, set | frozenset):
        return str(sorted(map(settings, thing)))
    if isinstance(thing, list | tuple):
        return str([*map(settings, thing)])
    if isinstance(thing, functools.partial):
        return settings([thing.func, thing.args, thing.keywords])
    if isinstance(thing, types.MethodType):
        return settings([thing.__func__, thing.__self__])
    if isinstance(thing, types.FunctionType):  # what it computes, not its address
        closed = [cell.cell_contents for cell in thing.__closure__ or ()]
        given = [thing.__defaults__, thing.__kwdefaults__]
        return settings([thing.__code__, closed, given, _references(thing)])
    if isinstance(thing, types.CodeType):
        return settings([thing.co_code.hex(), thing.co_names, thing.co_consts])
    if hasattr(thing, "__qualname__"):  # a class or a built-in function
        return f"{thing.__module__}.{thing.__qualname__}"
    if hasattr(thing, "__array__"):
        array = np.asarray(thing)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    state = getattr(thing, "__dict__", None)
    told = repr(thing) if state is None else settings(state)
    return f"{type(thing).__module__}.{type(thing).__qualname__} {told}"
