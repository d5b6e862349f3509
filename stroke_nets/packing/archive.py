"""Pack a folder as a reproducible zip that lists its own checksums, and unpack it.

The list, ``SHA256SUMS``, has the format of the program ``sha256sum``, which can check it too. It
detects damage; to detect tampering, compare the archive with a checksum published elsewhere.
"""

import hashlib
import os
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import hidden_folder

SUMS = "SHA256SUMS"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can store
CHUNK = 1 << 20
LARGEST_SUMS = 1_000_000  # bytes; a bundle has some twenty files


def sha256(stream: Any) -> str:
    """The checksum of the rest of a stream, in hexadecimal."""
    digest = hashlib.sha256()
    while block := stream.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return sha256(stream)


def write_sums(folder: Path) -> None:
    """List the checksums of all files of a folder in its ``SHA256SUMS``."""
    files = [path for path in _files(folder) if path != folder / SUMS]
    lines = [f"{file_sha256(f)}  {f.relative_to(folder).as_posix()}\n" for f in files]
    (folder / SUMS).write_text("".join(lines))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_archive(folder: Path, archive: Path) -> None:
    """Zip a folder reproducibly: sorted entries, fixed times, no compression.

    Args:
        folder: its name becomes the archive's only top-level entry.
        archive: the file to write.
    """
    with zipfile.ZipFile(archive, "x") as packed:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.create_system = 3  # always Unix
            with path.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, CHUNK)


def unpack(archive: Path, out: Path, wanted: str | None = None) -> Path:
    """Unpack an archive's folder after verifying every file.

    Args:
        archive: a zip made by `write_archive`.
        out: parent of the folder; created if necessary.
        wanted: checksum of the archive itself, from its publisher.

    Returns:
        The folder.

    Raises:
        UsageError: the archive does not exist, or the folder already exists.
        DataError: the archive is damaged, does not match ``wanted``, does not contain exactly the
            listed files, or contains a path outside the folder. Nothing is written.
    """
    if not archive.is_file():
        raise UsageError(f"{archive}: no such file; give what stroke-nets pack wrote")
    if wanted is not None and (found := file_sha256(archive)) != wanted.lower():
        raise DataError(f"{archive}: its SHA-256 is {found}, not {wanted}; download it again")
    try:
        with zipfile.ZipFile(archive) as packed:
            name = _verify(packed, archive)
            return _extract(packed, name, out)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise DataError(f"{archive}: damaged or no zip ({error}); download it again") from error


def _verify(packed: zipfile.ZipFile, archive: Path) -> str:
    """The name of the only folder in an archive, if everything matches its list."""
    entries = packed.infolist()
    size = sum(entry.file_size for entry in entries)
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or size > archive.stat().st_size:
        raise DataError(
            f"{archive}: its files are compressed or overlap, which 'stroke-nets pack' never does; "
            "do not use this archive"
        )
    paths = [_safe(entry, archive) for entry in entries]
    names = {path.parts[0] for path in paths}
    if len(names) != 1 or len(set(paths)) != len(paths):
        raise DataError(f"{archive}: holds no single folder, or a file twice; download it again")
    (name,) = names
    if PurePosixPath(name, SUMS) not in paths:
        raise DataError(f"{archive}: has no {SUMS}; give what stroke-nets pack wrote")
    if packed.getinfo(f"{name}/{SUMS}").file_size > LARGEST_SUMS:
        raise DataError(f"{archive}: its {SUMS} is no list of a bundle's files; download it again")
    lines = packed.read(f"{name}/{SUMS}").decode(errors="replace").splitlines()
    sums = {f"{name}/{path}": digest for digest, _, path in (x.partition("  ") for x in lines)}
    held = {str(path) for path in paths} - {f"{name}/{SUMS}"}
    for path in sorted(held ^ sums.keys()):
        what = "is not listed in" if path in held else "is missing, but listed in"
        raise DataError(f"{archive}: {path} {what} {SUMS}; download it again")
    for path, digest in sums.items():
        with packed.open(path) as stream:
            if sha256(stream) != digest:
                raise DataError(f"{archive}: {path} is damaged or changed; download it again")
    return name


def _safe(entry: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    """An entry's path, if it is a regular file inside one folder."""
    path, kind = PurePosixPath(entry.orig_filename), stat.S_IFMT(entry.external_attr >> 16)
    inside = len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts
    plain = str(path) == entry.filename == entry.orig_filename and kind in (0, stat.S_IFREG)
    if not inside or not plain or set(entry.orig_filename) & set("\\:\0\n"):
        raise DataError(
            f"{archive}: {entry.orig_filename!r} is no plain file inside the bundle's folder; "
            "do not use this archive"
        )
    return path


def _extract(packed: zipfile.ZipFile, name: str, out: Path) -> Path:
    """Write a verified archive's folder under a temporary name, then rename it."""
    folder = out / name
    if folder.exists():
        raise UsageError(f"{folder}: is there already; delete it, or give another folder")
    with hidden_folder(out) as hidden:
        packed.extractall(hidden)
        os.replace(hidden / name, folder)
    return folder
