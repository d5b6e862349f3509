"""List everything in a bundle that could be executed, and verify its checksums."""

import configparser
import hashlib
import json
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.expressions import (
    DANGER,
    OK,
    OUTSIDE,
    imported,
    judge_expression,
    judge_logging,
    judge_target,
)
from stroke_nets.inspection.pickles import calls
from stroke_nets.text_table import text_table

SUMS = "SHA256SUMS"
DAMAGED = "DAMAGED"
CONFIGS = (".json", ".yaml", ".yml")
LOGGING = (".conf", ".ini", ".cfg")
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".sh", ".bat", ".exe", ".ipynb")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".pt2", ".npy", ".npz")
LARGEST = 10_000_000  # bytes of a text file


@dataclass(frozen=True)
class Item:
    """Something that could be executed, or a file that does not match its checksum.

    Attributes:
        file: path in the bundle.
        where: its location in the file.
        kind: expression, target, macro, logging, code, pickle or file.
        text: the text found there.
        verdict: ok, outside, DANGER or DAMAGED.
        why: the reason for the verdict.
    """

    file: str
    where: str
    kind: str
    text: str
    verdict: str = OK
    why: str = ""


def inspect_bundle(bundle: str | Path) -> list[Item]:
    """List everything in a bundle that could be executed, without executing it.

    Args:
        bundle: a folder, a zip, or the name of one of this repository's bundles.

    Raises:
        UsageError: there is no such bundle.
        DataError: it is not a zip, or contains no configuration.
    """
    path = Path(bundle)
    if not path.exists() and str(bundle) in bundle_names():
        path = find_bundle(str(bundle))
    if not path.exists():
        raise UsageError(f"{bundle}: no such bundle; give a name, a folder or a zip")
    source = _Folder(path) if path.is_dir() else _Zip(path)
    items = list(source.odd)
    for name in source.names:
        items += _inspect_file(source, name)
    if not any(name.endswith(CONFIGS) for name in source.names):
        raise DataError(f"{bundle}: holds no configuration; give a bundle's folder or zip")
    return items + _compare_sums(source)


def findings(items: Sequence[Item]) -> list[Item]:
    """The items that are not ok."""
    return [item for item in items if item.verdict != OK]


def as_table(items: Sequence[Item]) -> str:
    """The items as a table, the worst first, with identical ones counted."""
    order = [DANGER, DAMAGED, OUTSIDE, OK]
    counts = Counter((i.verdict, i.kind, i.text, i.why) for i in items)
    first = {(i.verdict, i.kind, i.text, i.why): f"{i.file} {i.where}".strip() for i in items[::-1]}
    head = ("verdict", "kind", "times", "what", "[first place]")
    rows = []
    for key in sorted(counts, key=lambda key: (order.index(key[0]), key[1], key[2])):
        verdict, kind, text, why = key
        what = " ".join(text.split()) + (f"  ({why})" if why else "")
        rows.append((verdict, kind, str(counts[key]), what, f"[{first[key]}]"))
    return text_table(head, rows)


def as_json(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The items as plain data."""
    return [asdict(item) for item in items]


class _Folder:
    """The files of a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.odd = root, []
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            if not path.resolve().is_relative_to(root.resolve()):
                name = path.relative_to(root).as_posix()
                why = "a link that leaves the bundle"
                self.odd.append(Item(name, "", "file", name, OUTSIDE, why))
        self.names = [path.relative_to(root).as_posix() for path in files]

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with (self.root / name).open("rb") as stream:
            yield stream


class _Zip:
    """The files of a zip's one folder."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: not a zip ({error}); give a bundle's folder or zip"
            ) from error
        entries = [entry for entry in self.zip.infolist() if not entry.is_dir()]
        tops = {PurePosixPath(entry.filename).parts[:1] for entry in entries}
        self.top = f"{next(iter(tops))[0]}/" if len(tops) == 1 else ""
        self.names = [entry.filename.removeprefix(self.top) for entry in entries]
        self.odd = [
            Item(entry.filename, "", "file", entry.filename, DANGER, "it would leave the bundle")
            for entry in entries
            if not _stays_inside(entry)
        ]

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self.zip.open(self.top + name) as stream:
            yield stream


def _stays_inside(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
    linked = stat.S_ISLNK(entry.external_attr >> 16)
    return not (path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or linked)


def _inspect_file(source: _Folder | _Zip, name: str) -> Iterator[Item]:
    """What a file could execute, by its extension."""
    if name.endswith(CODE):
        yield Item(name, "", "code", name, OUTSIDE, "code of its own: read it")
    elif name.endswith(PICKLES):
        with source.open(name) as stream:
            for call in calls(stream):
                yield Item(name, "", "pickle", call, DANGER, "unpickling would call it")
    elif name.endswith((*CONFIGS, *LOGGING)):
        with source.open(name) as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            yield Item(name, "", "file", name, DANGER, f"larger than {LARGEST} bytes")
        elif name.endswith(LOGGING):
            yield from _inspect_logging(name, content)
        else:
            yield from inspect_config(name, content)


def inspect_config(name: str, content: bytes) -> Iterator[Item]:
    """Every expression, target and macro of a configuration.

    Args:
        name: name of the file.
        content: content of the file.
    """
    try:
        config = json.loads(content) if name.endswith(".json") else yaml.safe_load(content)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        yield Item(name, "", "file", name, DANGER, f"cannot be read as plain data: {why}")
        return
    values = list(_walk(config, ""))
    names: dict[str, str] = {}
    for _, value in values:
        if value.startswith("$") and "import " in value:
            names |= imported(value)
    for where, value in values:
        if value.startswith("$"):
            yield Item(name, where, "expression", value, *judge_expression(value, names))
        elif where.split("#")[-1] == "_target_":
            yield Item(name, where, "target", value, *judge_target(value))
        elif value.startswith("%") and any(end in value for end in CONFIGS):
            path = PurePosixPath(value[1:].split("::")[0])
            away = path.is_absolute() or ".." in path.parts
            verdict = (OUTSIDE, "takes in a file from elsewhere") if away else (OK, "")
            yield Item(name, where, "macro", value, *verdict)


def _walk(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string of a configuration, with its MONAI id."""
    if isinstance(node, str):
        yield where, node.strip() if node.strip().startswith("$") else node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _walk(value, f"{where}#{key}".lstrip("#"))


def _inspect_logging(name: str, content: bytes) -> Iterator[Item]:
    """Every string of a logging configuration that Python's logging would evaluate."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode())
    except (configparser.Error, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        yield Item(name, "", "logging", name, DANGER, f"cannot be read: {why}")
        return
    for section in parser.sections():
        for field in ("class", "args", "kwargs"):
            value = parser.get(section, field, fallback="").strip()
            if value:
                verdict = judge_logging(field, value)
                yield Item(name, section, "logging", f"{field}={value}", *verdict)


def _compare_sums(source: _Folder | _Zip) -> list[Item]:
    """Files that do not match ``SHA256SUMS`` or ``models/weights.json``."""
    wanted = dict(_listed(source))
    items = []
    for name, digest in sorted(wanted.items()):
        if name not in source.names:
            items.append(Item(name, "", "file", name, DAMAGED, "listed, but missing"))
            continue
        with source.open(name) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:  # type: ignore[arg-type]
                items.append(Item(name, "", "file", name, DAMAGED, "not the SHA-256 listed"))
    if SUMS in source.names:
        for name in sorted(set(source.names) - wanted.keys() - {SUMS}):
            items.append(Item(name, "", "file", name, DAMAGED, f"not listed in {SUMS}"))
    return items


def _listed(source: _Folder | _Zip) -> Iterator[tuple[str, str]]:
    """Files and their SHA-256, as listed in the bundle."""
    if "models/weights.json" in source.names:
        with source.open("models/weights.json") as stream:
            for entry in json.load(stream):
                yield f"models/{entry['file']}", entry["sha256"]
    if SUMS in source.names:
        with source.open(SUMS) as stream:
            for line in stream.read(LARGEST).decode(errors="replace").splitlines():
                digest, _, name = line.partition("  ")
                yield name, digest
