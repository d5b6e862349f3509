"""MRtrix's image format, ``.mif`` and ``.mif.gz``: no package on PyPI reads its voxels.

A text header, then the voxels in any order of the axes:
https://mrtrix.readthedocs.io/en/3.0.4/getting_started/image_data.html#mrtrix-image-formats-mih-mif.
"""

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from stroke_nets.scans.finding import Finding, Refusal

MAGIC = "mrtrix image"
LONGEST = 1 << 24  # bytes of a header, which may hold a gradient table and the file's history
DENSEST = 1032  # the maximum compression ratio of deflate
DATATYPE = re.compile(r"(U?Int(?:8|16|32|64)|Float(?:32|64))(LE|BE)?")
ORDERS: dict[str | None, Literal["<", ">", "="]] = {"LE": "<", "BE": ">", None: "="}


def read_mif(path: Path, segment: str | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The voxels, of the header's shape and with its scaling, and the affine to RAS mm.

    Raises:
        Refusal: the file is damaged, has complex voxels or does not say where they lie.
    """
    try:
        opened = gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")
        with cast(BinaryIO, opened) as stream:
            header = _header(stream)
            voxels = _voxels(path, stream, header)
        offset, scale = map(float, header.get("scaling", "0,1").split(","))
        affine = _affine(path, header)
    except EOFError as error:
        raise _refusal(path, "F2", f"cut short: {error}", "copy or download it again") from error
    except (OSError, ValueError, LookupError, zlib.error) as error:
        raise _refusal(path, "F5", f"damaged ({error})", "copy or download it again") from error
    return voxels if (offset, scale) == (0, 1) else offset + scale * voxels, affine


def write_mif(path: Path, voxels: NDArray[np.uint8], affine: NDArray[Any]) -> None:
    """Write a volume, X x Y x Z, with its affine to RAS mm."""
    sizes = nib.affines.voxel_sizes(affine)
    rows = np.column_stack([affine[:3, :3] / sizes, affine[:3, 3]])
    lines = [MAGIC, f"dim: {_joined(voxels.shape)}", f"vox: {_joined(sizes)}"]
    lines += ["layout: +0,+1,+2", "datatype: UInt8", *(f"transform: {_joined(r)}" for r in rows)]
    head = "\n".join(lines)
    start = len(head) + 32  # leaves room for the last two lines
    content = f"{head}\nfile: . {start}\nEND\n".ljust(start, "\0").encode("ascii")
    content += voxels.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)


def _header(stream: BinaryIO) -> dict[str, str]:
    """The header's values; those of a key with several lines are joined by commas."""
    if stream.readline(LONGEST).strip() != MAGIC.encode():
        raise ValueError(f"its first line is not '{MAGIC}'")
    header: dict[str, str] = {}
    while line := stream.readline(LONGEST).decode("utf-8", "replace").strip():
        if line == "END":
            return header
        key, _, value = (part.strip() for part in line.partition(":"))
        header[key] = f"{header[key]},{value}" if key in header else value
    raise EOFError("its header has no end")


def _voxels(path: Path, stream: BinaryIO, header: dict[str, str]) -> NDArray[Any]:
    """The voxels as stored, of the header's shape."""
    kind, found = header["datatype"], DATATYPE.fullmatch(header["datatype"])
    if kind != "Bit" and not found:
        raise _refusal(path, "F18", f"its voxels are of type {kind}", "export real numbers")
    number = np.dtype(found[1].lower()).newbyteorder(ORDERS[found[2]]) if found else np.dtype("u1")
    shape = [int(n) for n in header["dim"].split(",")]
    where, start = header["file"].split()
    count = math.prod(shape)
    size = count * number.itemsize if found else -(-count // 8)
    if where != "." or min(shape) < 1:
        raise ValueError(f"file: {header['file']}, dim: {header['dim']}")
    if int(start) + size > path.stat().st_size * DENSEST:
        raise EOFError(f"it announces {size} bytes of voxels")
    stream.seek(int(start))
    stored = np.frombuffer(stream.read(size), np.uint8)
    if len(stored) < size:
        raise EOFError(f"it has {len(stored)} of {size} bytes of voxels")
    flat = stored.view(number) if found else np.unpackbits(stored, count=count)
    return _in_order(flat.astype(number.newbyteorder("=")), shape, header["layout"].split(","))


def _in_order(flat: NDArray[Any], shape: list[int], layout: list[str]) -> NDArray[Any]:
    """Voxels in the order of their axes: a layout ranks the axes, the fastest first, by sign."""
    ranks = [abs(int(rank)) for rank in layout]
    if sorted(ranks) != list(range(len(shape))):
        raise ValueError(f"layout: {','.join(layout)}")
    axes = np.argsort(ranks)
    voxels = flat.reshape([shape[axis] for axis in axes], order="F").transpose(ranks)
    return np.flip(voxels, tuple(axis for axis, rank in enumerate(layout) if rank.startswith("-")))


def _affine(path: Path, header: dict[str, str]) -> NDArray[Any]:
    if "transform" not in header:
        what = "it does not say where its voxels lie (transform)"
        raise _refusal(path, "G9", what, "write it from the original with mrconvert")
    rows = np.array(header["transform"].split(",")[:12], float).reshape(3, 4)
    sizes = np.array(header["vox"].split(",")[:3], float)
    return np.asarray(nib.affines.from_matvec(rows[:, :3] * sizes, rows[:, 3]))


def _joined(numbers: Any) -> str:
    return ",".join(str(number) for number in numbers)


def _refusal(path: Path, row: str, what: str, fix: str) -> Refusal:
    return Refusal(Finding(str(path), row, what, fix))
