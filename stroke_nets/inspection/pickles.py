"""Find what a checkpoint or array file would call when unpickled, without unpickling it."""

import io
import pickletools
import tokenize
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from typing import IO

import numpy as np

LARGEST = 50_000_000  # bytes of a checkpoint's pickle, which holds no numbers of tensors
BUILT_IN = (".py", ".so", ".dll", ".pyd")  # of TorchScript and AOTInductor
MOST = 5  # consecutive pickles in PyTorch's old format
MOST_STEPS = 5_000_000  # of a pickle; one of a checkpoint has some ten for each tensor
ADMITTED = (  # needed by torch.load(weights_only=True) for weights and nnU-Net's training log
    "collections.OrderedDict",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.serialization._get_layout",
)
STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"} | {
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}

SILENT = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "FRAME", "PROTO"}  # leave the stack as it is


def calls(stream: IO[bytes]) -> list[str]:
    """List what the pickles of a file would call, except for creating tensors.

    Args:
        stream: a PyTorch checkpoint of either format, a bare pickle, ``.npy`` or ``.npz``.

    Returns:
        Dotted names, or the problem of the file.
    """
    head = stream.read(6)
    stream.seek(0)
    if head.startswith(b"PK"):
        return _of_zip(stream)
    if head == b"\x93NUMPY":
        return _of_array(stream)
    return _not_admitted(stream)


def _not_admitted(stream: IO[bytes]) -> list[str]:
    return list(dict.fromkeys(name for name in _globals(stream) if not _is_admitted(name)))


def _of_zip(stream: IO[bytes]) -> list[str]:
    found, left = [], LARGEST
    try:
        with zipfile.ZipFile(stream) as packed:
            for entry in packed.infolist():
                with packed.open(entry) as content:
                    if entry.filename.lower().endswith(".npy"):
                        found += _of_array(content)
                    elif entry.filename.lower().endswith(BUILT_IN):
                        found.append(f"the code {entry.filename}")
                    elif entry.filename.lower().endswith(".pkl"):
                        text = content.read(left + 1)
                        left -= len(text)
                        if left < 0:
                            return [*found, f"more than {LARGEST} bytes of pickles"]
                        found += _not_admitted(io.BytesIO(text))
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        return [f"not readable ({error})"]
    return found


def _of_array(stream: IO[bytes]) -> list[str]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)[2]
    except (ValueError, TypeError, tokenize.TokenError, SyntaxError, MemoryError) as error:
        return [f"not readable ({type(error).__name__})"]  # NumPy parses the header as Python
    return ["pickled objects in an array"] if dtype.hasobject else []


def _is_admitted(name: str) -> bool:
    """Whether a name belongs to tensors: a constructor, a storage or a dtype."""
    module, _, last = name.rpartition(".")
    plain = last.endswith("Storage") or last in ("float32", "float16", "bfloat16", "int64", "bool")
    return name in ADMITTED or (module == "torch" and plain)


def _globals(stream: IO[bytes]) -> Iterator[str]:
    """All globals that the first pickles of a stream reference.

    A name that is not spelt out right before it is taken from the stack is none that weights need.
    """
    for count in range(MOST):
        before = deque[str | None]([None, None], 2)  # pushed by the last opcodes, if a string
        try:
            for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if step > MOST_STEPS:
                    yield f"more than {MOST_STEPS} steps"
                    return
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    module, name = before
                    known = module is not None and name is not None
                    yield f"{module}.{name}" if known else "a name it computes"
                elif opcode.name.startswith("EXT"):
                    yield "a registered extension"
                if opcode.name not in SILENT:
                    before.append(str(argument) if opcode.name in STRINGS else None)
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            if count == 0:
                yield f"not readable ({error})"
            return  # raw data follows the pickles of the old format
