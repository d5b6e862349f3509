"""Atomic checkpoint files, each with a SHA-256 file.

A training keeps ``epoch_00007.pt`` for its last epochs and its best one; ``last.pt`` and
``best.pt`` are links to two of them, so that no name ever refers to a partial file.
"""

import io
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from stroke_nets.errors import DataError, UsageError
from stroke_nets.training.nnunet_weights import SCALARS

UNREADABLE = (  # raised by the readers for other files and damaged ones
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
)

LAST, BEST = "last.pt", "best.pt"


def epoch_file(folder: Path, epoch: int) -> Path:
    """The path of the state after an epoch."""
    return folder / f"epoch_{epoch:05d}.pt"


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints to resume from: those of epochs, or a single ``last.pt``."""
    epochs = sorted(folder.glob("epoch_*.pt"), reverse=True)
    return epochs or [path for path in [folder / LAST] if path.is_file()]


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint and its SHA-256; the previous files stay until both are on disk.

    Raises:
        UsageError: the file cannot be written.
    """
    data = saved(dict(state))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(_sha256_file(path), f"{sha256(data).hexdigest()}  {path.name}\n".encode())
        _write(path, data)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise UsageError(
            f"checkpoint {path}: cannot be written ({error.strerror}): it needs "
            f"{len(data) / 1e6:.1f} MB, {free / 1e6:.1f} MB are free; the checkpoint before it is "
            "kept; make room, then --resume true"
        ) from error


def saved(state: Any) -> memoryview:
    """What ``torch.save`` writes; its own errors on a full disk say nothing of that."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def read(path: Path) -> Any:
    """Read a checkpoint, with float16 in ``.safetensors`` as float32. Nothing is executed.

    Raises:
        DataError: it differs from its checksum, or cannot be read.
    """
    path = path.resolve()
    beside = _sha256_file(path)
    if beside.is_file():
        with open(path, "rb") as stream:
            if file_digest(stream, "sha256").hexdigest().encode() != beside.read_bytes()[:64]:
                raise DataError(f"checkpoint {path}: damaged (its sha256 is not that of {beside})")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
            return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}
        _require_stored(path)
        with torch.serialization.safe_globals(SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = type(error).__name__  # PyTorch's message is long and suggests executing the file
        raise DataError(
            f"checkpoint {path}: cannot be read ({reason}); give one of a training"
        ) from error


def _require_stored(path: Path) -> None:
    """Refuse an archive that grows when it is read, as PyTorch writes none.

    Raises:
        ValueError: its parts are compressed or overlap.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            parts = packed.infolist()
        if sum(max(one.file_size, one.compress_size) for one in parts) > path.stat().st_size:
            raise ValueError("compressed")


def point(link: Path, file: Path) -> None:
    """Atomically make ``link`` point to a file in the same folder."""
    temporary = _temporary(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(file.name)
    os.replace(temporary, link)


def remove(path: Path) -> None:
    """Delete a checkpoint, then its SHA-256."""
    path.unlink(missing_ok=True)
    _sha256_file(path).unlink(missing_ok=True)


def remove_all(folder: Path) -> None:
    """Delete a training's checkpoints before training again."""
    for path in [folder / LAST, folder / BEST, *newest_first(folder)]:
        remove(path)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Delete partial files of killed processes."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _write(path: Path, data: bytes | memoryview) -> None:
    """Write to disk under a temporary name, then rename."""
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename durable
    finally:
        os.close(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _sha256_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
