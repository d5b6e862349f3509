"""Checkpoint files: whole or not there, each with its sha256 beside it.

A training keeps ``epoch_00007.pt`` for its last epochs and its best one; ``last.pt`` and
``best.pt`` are links to two of them, so that no name ever stands for half a file.
"""

import io
import os
import pickle
import shutil
import struct
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from stroke_nets.errors import DataError, UsageError
from stroke_nets.training.nnunet_weights import SCALARS

UNREADABLE = (  # what the readers raise at other files and at damage
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
)

LAST, BEST = "last.pt", "best.pt"


def epoch_file(folder: Path, epoch: int) -> Path:
    """Where the state after an epoch is kept."""
    return folder / f"epoch_{epoch:05d}.pt"


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints that training can go on from: those of epochs, or a ``last.pt`` alone."""
    epochs = sorted(folder.glob("epoch_*.pt"), reverse=True)
    return epochs or [path for path in [folder / LAST] if path.is_file()]


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint and its sha256; what was there before stays until both are on the disk.

    Raises:
        UsageError: the disk does not take it.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getbuffer()
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


def read(path: Path) -> Any:
    """What a checkpoint holds; halves of a ``.safetensors`` become float32. Nothing is executed.

    Raises:
        DataError: it is not as it was written, or cannot be read.
    """
    path = path.resolve()
    beside = _sha256_file(path)
    if beside.is_file():
        with open(path, "rb") as stream:
            if file_digest(stream, "sha256").hexdigest() != beside.read_text().split(" ")[0]:
                raise DataError(f"checkpoint {path}: damaged (its sha256 is not that of {beside})")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
            return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}
        with torch.serialization.safe_globals(SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = type(error).__name__  # PyTorch's text is long, and advises to execute the file
        raise DataError(
            f"checkpoint {path}: cannot be read ({reason}); give one of a training"
        ) from error


def point(link: Path, file: Path) -> None:
    """Make ``link`` another name of a file in the same folder, at once."""
    temporary = _temporary(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(file.name)
    os.replace(temporary, link)


def remove(path: Path) -> None:
    """Delete a checkpoint, then its sha256."""
    path.unlink(missing_ok=True)
    _sha256_file(path).unlink(missing_ok=True)


def remove_all(folder: Path) -> None:
    """Delete a training's checkpoints, to train again."""
    for path in [folder / LAST, folder / BEST, *newest_first(folder)]:
        remove(path)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Delete what a killed process had half written."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _write(path: Path, data: bytes | memoryview) -> None:
    """On the disk under a temporary name first, then renamed."""
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
        os.fsync(folder)  # the new name itself
    finally:
        os.close(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _sha256_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
