"""Read scans strictly; every error names the file and how to fix it.

The whole gzip stream is read, its checksum and length are verified, and the number of bytes is
compared with the header before anything of that size is allocated. Rows F1 to F21 of the checks
are implemented here, the geometry (rows G) in `stroke_nets.scans.geometry`.
NIfTI-1 and NIfTI-2: https://nifti.nimh.nih.gov.
"""

import getpass
import hashlib
import logging
import math
import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from stroke_nets.memory import free_memory
from stroke_nets.scans.dicom_series import Series, is_series, read_series
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.formats import AGAIN, DENSEST, ENDINGS, ZIPPED, converted, is_scan, not_read
from stroke_nets.scans.geometry import Grid, place, select_volume

APPLE = b"\0\5\x16\7"  # AppleDouble, RFC 1740
GZIP = b"\x1f\x8b"
HEAD = 544  # bytes of the longer header, NIfTI-2's, with its extension flag
PADDING = 1 << 16  # zero bytes that some programs write after the voxels
CHUNK = 1 << 18  # bytes passed to zlib at once
DTYPES = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
DTYPES |= {"float32", "float64"}

logger = logging.getLogger(__name__)


def is_nifti(path: Path | str) -> bool:
    """Whether the file name has a NIfTI extension."""
    return str(path).lower().endswith(ENDINGS)


def _is_zipped(path: Path) -> bool:
    """Whether a NIfTI file of this name is compressed."""
    return path.name.lower().endswith(ZIPPED)


class Scan:
    """A NIfTI file that is opened, hashed and decoded once.

    The bytes are read when the object is created; the voxels are decoded on first access to
    ``image``, and the bytes are then released.

    Args:
        path: a file of one of `formats.READ`; or a folder or zip archive of DICOM.
        volume: which volume of a 4D file to take.
        orientation: axis codes, such as ``RAS``, for a file that does not specify an orientation.
        segment: the name of a segment, for a ``.seg.nrrd`` file with several.

    Attributes:
        announced: the shape given in the header; nothing of that size is allocated yet.
        digest: SHA-256 of the stored bytes, in hex; of DICOM, of the volume made of them.
        series: the DICOM series that it was read from, if it was.

    Raises:
        Refusal: the file is missing or has no usable header.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        volume: int | None = None,
        orientation: str | None = None,
        segment: str | None = None,
    ) -> None:
        """Read the bytes."""
        self.path, self.volume, self.orientation = Path(path), volume, orientation
        self.series: Series | None = None
        self._told: list[Finding] = []
        if not is_scan(self.path) and is_series(self.path):
            self._stored, self.series, self._told = read_series(self.path)
        else:
            self._stored = _stored(self.path)
        self.digest = hashlib.sha256(self._stored.data).hexdigest()
        other = converted(self.path, segment)
        self._stored = self._stored if other is None else other
        self._header = _header(self.path, _head(self.path, self._stored))
        self.announced, self._dtype, self._offset = _layout(self.path, self._header)

    @property
    def image(self) -> Any:
        """The `nibabel.Nifti1Image`, X x Y x Z, with its voxels in memory and its affine in mm.

        The header keeps the file's own codes and unit of length.

        Raises:
            Refusal: the file is truncated or damaged, or does not define its voxels' positions.
        """
        return self._decoded[0]

    @property
    def notices(self) -> list[Finding]:
        """Notices about an unusual but accepted file."""
        return self._decoded[1]

    @property
    def voxels(self) -> NDArray[Any]:
        """The image's array, X x Y x Z."""
        return np.asanyarray(self.image.dataobj)

    @property
    def grid(self) -> Grid:
        """Shape and affine, in mm."""
        return Grid(self.image.shape, self.image.affine)

    @cached_property
    def _decoded(self) -> tuple[Any, list[Finding]]:
        path, stored, header, dtype = self.path, self._stored, self._header, self._dtype
        count = math.prod(self.announced)
        need = self._offset + count * dtype.itemsize
        if need > len(stored) * DENSEST:
            what = f"its header announces {self.announced} voxels, {need} bytes; "
            raise _refusal(path, "F14", f"{what}the file has {len(stored)}", "export it again")
        free = free_memory()
        if need > free:
            what = f"its voxels need {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
            raise _refusal(path, "F14", what, "resample it, or use a machine with more memory")
        content = _inflate(path, stored, need) if _is_zipped(path) else stored
        _compare_size(path, content, need, self._offset)
        flat = np.frombuffer(content, dtype, count, self._offset)
        voxels = flat.reshape(self.announced, order="F")
        voxels = _scaled(path, header, np.require(voxels, dtype.newbyteorder("="), ["A", "W"]))
        voxels, notices = select_volume(str(path), voxels, self.volume)
        affine, more = place(str(path), header, voxels.shape, self.orientation)
        kind = nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
        self._stored = stored[:0]
        return kind(voxels, affine, header), self._told + notices + more


def read_scan(path: Path | str, *, sha256: str | None = None, **options: Any) -> Scan:
    """Open and decode a NIfTI file.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        sha256: the expected checksum of the stored bytes.
        options: those of `Scan`.

    Returns:
        The scan, decoded.

    Raises:
        Refusal: the file is not valid.
    """
    scan = Scan(path, **options)
    scan.image  # noqa: B018  report damage before a wrong checksum
    if sha256 is not None and scan.digest != sha256:
        fix = "restore the file, or write the manifest again"
        what = "its SHA-256 is not the manifest's: the file changed"
        raise _refusal(scan.path, "D9", what, fix)
    return scan


def open_scan(path: Path | str, **options: Any) -> Any:
    """Open a NIfTI file, decode its voxels and log its notices.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        options: those of `read_scan`.

    Returns:
        The `Scan.image`.

    Raises:
        DataError: the file is missing, not NIfTI, truncated or damaged, or does not define its
            voxels' positions.
    """
    return logged(read_scan(path, **options)).image


def logged(scan: Scan) -> Scan:
    """Log a scan's notices and return it."""
    for notice in scan.notices:
        logger.warning("%s", notice)
    return scan


def sha256(path: Path | str) -> str:
    """The SHA-256 checksum of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _user() -> str:
    """The user's name, or number where there is no account."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _refusal(path: Path, row: str, what: str, fix: str) -> Refusal:
    return Refusal(Finding(str(path), row, what, fix))


def _stored(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, as stored (rows F8, F9, F12, F13, F21)."""
    try:
        if path.is_dir():
            raise _refusal(path, "F12", "a folder, not a file", "give the scan inside it")
        if path.exists() and not path.is_file():  # to open it could wait for ever
            raise _refusal(path, "F12", "a device or pipe, not a file", "give a file")
        stored = np.fromfile(path, np.uint8)  # twice as fast as bytes, and writable
    except FileNotFoundError as error:
        if path.is_symlink():
            to = path.readlink()
            annex = ".git/annex/objects" in to.as_posix()
            fix = _from_annex(path, to) if annex else "restore what it points to"
            row = "F9" if annex else "F12"
            raise _refusal(path, row, f"a link to {to}, which is not there", fix) from error
        fix = "check the path or the manifest"
        raise _refusal(path, "F12", "no such file", fix) from error
    except PermissionError as error:
        what = f"permission denied for user {_user()}"
        raise _refusal(path, "F21", what, "give the user read access") from error
    except OSError as error:
        raise _refusal(path, "F12", f"cannot be read ({error.strerror})", AGAIN) from error
    if not is_scan(path):
        raise Refusal(not_read(path))
    if not stored.size:
        raise _refusal(path, "F8", "0 bytes", AGAIN)
    return stored


def _from_annex(path: Path, to: Path) -> str:
    """How to get a file of DataLad, in the data set that has it."""
    root = to.as_posix().split("/.git/annex")[0] if to.is_absolute() else ""
    if root and not path.absolute().is_relative_to(root):  # a link from a prepared data set
        return f"run 'datalad get .' in {root}"
    return f"run 'datalad get {path.name}'"


def _head(path: Path, stored: NDArray[np.uint8]) -> bytes:
    """The first bytes of the uncompressed file (rows F5, F9 to F11)."""
    zipped, start = _is_zipped(path), stored[:HEAD].tobytes()
    if not zipped and start.startswith(GZIP):
        raise _refusal(path, "F11", "compressed with gzip", f"rename it to {path.name}.gz")
    if zipped and _is_header(start):
        fix = f"rename it to {path.with_suffix('').name}"
        raise _refusal(path, "F10", "plain NIfTI, not compressed", fix)
    if not (start.startswith(GZIP) if zipped else _is_header(start)):
        raise _stand_in(path, start)
    try:
        return zlib.decompressobj(wbits=31).decompress(stored.data, HEAD) if zipped else start
    except zlib.error as error:
        raise _refusal(path, "F5", f"damaged ({error})", AGAIN) from error


def _is_header(head: bytes) -> bool:
    """Whether the bytes start with the size of a NIfTI header, in either byte order."""
    return any(int.from_bytes(head[:4], order) in (348, 540) for order in ("little", "big"))


def _stand_in(path: Path, start: bytes) -> Refusal:
    """Say what the file is instead of a scan (row F9), or that it is not one (row F17)."""
    if start.startswith(APPLE):
        fix = f"delete it, and give {path.name.removeprefix('._')}"
        return _refusal(path, "F9", "what macOS keeps beside a scan, not the scan", fix)
    start = start.lstrip()
    if start.startswith(b"version https://git-lfs"):
        return _refusal(path, "F9", "a git-lfs pointer, not the scan", "run 'git lfs pull'")
    if b"annex/objects/" in start:
        fix = f"run 'datalad get {path.name}'"
        return _refusal(path, "F9", "a git-annex pointer, not the scan", fix)
    if start[:1] == b"<":
        return _refusal(path, "F9", "a web page, not a NIfTI scan", "log in and download it again")
    return _refusal(path, "F17", "not a NIfTI file", "export it as NIfTI again")


def _inflate(path: Path, stored: NDArray[np.uint8], need: int) -> NDArray[np.uint8]:
    """Decompress a gzip file of one or more members to its end (rows F1, F3 to F5, F7).

    At most ``need`` bytes and some padding are decompressed.
    """
    content, start, total = np.empty(need + PADDING, np.uint8), 0, 0
    while stored[start : start + 2].tobytes() == GZIP:
        member = zlib.decompressobj(wbits=31)
        while start < len(stored) and not member.eof:
            try:
                piece = member.decompress(
                    stored.data[start : start + CHUNK], len(content) + 1 - total
                )
            except zlib.error as error:
                row = "F5" if "check" not in str(error) or "header" in str(error) else "F4"
                raise _refusal(path, row, f"damaged ({error})", AGAIN) from error
            if total + len(piece) > len(content):
                what = f"it holds more than the {need} bytes that its header announces"
                raise _refusal(path, "F7", what, "export it again")
            content[total : total + len(piece)] = np.frombuffer(piece, np.uint8)
            start, total = min(start + CHUNK, len(stored)), total + len(piece)
        start -= len(member.unused_data)
        if not member.eof:
            row = "F1" if total < need else "F3"
            what = f"cut short: it has {total} of {need} bytes and lacks the end of the stream"
            raise _refusal(path, row, what, AGAIN)
    if stored[start:].any():
        what = f"{len(stored) - start} bytes after the compressed scan that are no part of it"
        raise _refusal(path, "F7", what, AGAIN)
    return content[:total]


def _compare_size(path: Path, content: NDArray[np.uint8], need: int, offset: int) -> None:
    """Refuse a number of bytes other than the header's (rows F1, F2, F7, F16)."""
    have = len(content)
    if have < offset:
        what = f"its voxels would start at byte {offset}, past its end at {have}"
        raise _refusal(path, "F16", what, "export it again")
    if have < need:
        row = "F1" if _is_zipped(path) else "F2"
        raise _refusal(path, row, f"cut short: it has {have} of {need} bytes", AGAIN)
    if content[need:].any():
        what = f"{have - need} bytes after its voxels that its header does not announce"
        raise _refusal(path, "F7", what, "export it again")


def _scaled(path: Path, header: Any, voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels with the header's scaling applied."""
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise _refusal(path, "F17", f"unusable scaling ({error})", "export it again") from error
    return apply_read_scaling(voxels, slope, inter) if slope is not None else voxels


def _header(path: Path, head: bytes) -> Any:
    """The header, as stored (row F17)."""
    first = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    if 348 in first and head[344:348] == b"n+1\0":
        return nib.Nifti1Header(head[:348], check=False)
    if 540 in first and head[4:12] == b"n+2\0\r\n\x1a\n" and len(head) >= 540:
        return nib.Nifti2Header(head[:540], check=False)
    if head[344:348] == b"ni1\0":
        what = "the header of a .hdr/.img pair"
        raise _refusal(path, "F17", what, "export the scan as one NIfTI file")
    raise _refusal(path, "F17", "not a NIfTI file: bad magic", "export it as NIfTI again")


def _layout(path: Path, header: Any) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, data type and byte offset of the voxels (rows F15, F16, F18, G3)."""
    ndim = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : ndim + 1])
    if not 1 <= ndim <= 7 or min(shape) < 1:
        what = f"impossible dimensions {[int(n) for n in header['dim']]}"
        raise _refusal(path, "F15", what, "export it again")
    if ndim not in (3, 4):
        raise _refusal(path, "G3", f"{ndim}D, of shape {shape}", "save it as a 3D volume")
    code = int(header["datatype"])
    name = data_type_codes.label[code] if code in data_type_codes.label else f"code {code}"
    if name not in DTYPES:
        fix = "export one real number per voxel"
        raise _refusal(path, "F18", f"its voxels are of type {name}", fix)
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < header.single_vox_offset:
        what = f"its voxels would start at byte {offset:g}, inside the header"
        raise _refusal(path, "F16", what, "export it again")
    return shape, header.get_data_dtype(), int(offset)
