"""List everything in a bundle that could be executed, and verify its checksums."""

import configparser
import hashlib
import json
import lzma
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.allowed import changed, normal, own_code, walk
from stroke_nets.inspection.expressions import (
    DANGER,
    OK,
    OUTSIDE,
    imported,
    judge_change,
    judge_component,
    judge_expression,
    judge_logging,
    judge_references,
)
from stroke_nets.inspection.pickles import calls
from stroke_nets.inspection.plain_config import CONFIGS, LARGEST, parse_config
from stroke_nets.text_table import text_table

SUMS = "SHA256SUMS"
WEIGHTS = "models/weights.json"
DAMAGED = "DAMAGED"
LOGGING = (".conf", ".ini", ".cfg")
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".sh", ".bat", ".exe", ".ipynb")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".pt2", ".npy", ".npz")
MOST_FILES = 10_000
MOST_GROWTH = 20  # of a compressed archive; pack compresses nothing
LONGEST = 300  # characters of a text on the screen
UNREADABLE = (  # raised for damaged and encrypted entries of a zip, and for files
    *(OSError, EOFError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
MACRO = re.compile(r"%[\w#:]*")  # of the same file; MONAI takes all others for another file's
ELSEWHERE = re.compile(r"/[^/\s]|~[\w.-]*/|(\S*[/\\])?\.\.([/\\'\"]|$)|[A-Za-z]:[/\\]")  # a path
RELATIVE = re.compile(r"[@%](#|::)")
PLAIN_KEY = re.compile(r"[\w+#:]*")  # a macro or relative reference can become part of code


@dataclass(frozen=True)
class Item:
    """Something that could be executed, or a file that does not match its checksum.

    Attributes:
        file: path in the bundle.
        where: its location in the file.
        kind: expression, reference, target, change, macro, key, path, logging, code, pickle, file.
        text: the text found there.
        verdict: ok, outside, DANGER or DAMAGED.
        why: the reason for the verdict.
        whose: the package that it is from, or "this project" if a bundle of it holds the same.
    """

    file: str
    where: str
    kind: str
    text: str
    verdict: str = OK
    why: str = ""
    whose: str = ""


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
        try:
            items += _inspect_file(source, name)
        except UNREADABLE as error:
            why = f"cannot be read ({type(error).__name__})"
            items.append(Item(name, "", "file", name, DANGER, why))
    if not any(name.lower().endswith(CONFIGS) for name in source.names):
        raise DataError(f"{bundle}: holds no configuration; give a bundle's folder or zip")
    return items + _compare_sums(source)


def findings(items: Sequence[Item]) -> list[Item]:
    """The items that are not ok."""
    return [item for item in items if item.verdict != OK]


def as_table(items: Sequence[Item]) -> str:
    """The items as a table, the worst first, with identical ones counted."""
    order = [DANGER, DAMAGED, OUTSIDE, OK]
    counts = Counter((i.verdict, i.kind, i.whose, i.text, i.why) for i in items)
    first = {
        (i.verdict, i.kind, i.whose, i.text, i.why): f"{i.file} {i.where}".strip()
        for i in items[::-1]
    }
    head = ("verdict", "kind", "whose", "times", "what", "[first place]")
    rows = []
    for key in sorted(counts, key=lambda key: (order.index(key[0]), key[1], key[3])):
        verdict, kind, whose, text, why = key
        what = shown(text) + (f"  ({why})" if why else "")
        rows.append((verdict, kind, whose, str(counts[key]), what, f"[{shown(first[key])}]"))
    return text_table(head, rows)


def as_json(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The items as plain data."""
    return [asdict(item) for item in items]


def shown(text: str) -> str:
    """A text of a foreign file for the screen: one line, no control characters, not endless."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


class _Folder:
    """The files of a folder, but for links that leave it."""

    def __init__(self, root: Path) -> None:
        self.root, self.odd = root, []
        self.names = []
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.resolve().is_relative_to(root.resolve()):
                why = "a link that leaves the bundle"
                self.odd.append(Item(name, "", "file", name, OUTSIDE, why))
            elif path.is_dir() and path.is_symlink():
                self.odd.append(Item(name, "", "file", name, OUTSIDE, "a link to a folder"))
            elif path.is_file():
                self.names.append(name)

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
        size = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_FILES or size > max(LARGEST, MOST_GROWTH * path.stat().st_size):
            raise DataError(
                f"{path}: announces {len(entries)} files of {size / 1e6:.0f} MB; do not unpack it"
            )
        tops = {PurePosixPath(entry.filename).parts[:1] for entry in entries}
        self.top = f"{next(iter(tops))[0]}/" if len(tops) == 1 else ""
        self.names = [entry.filename.removeprefix(self.top) for entry in entries]
        self.odd = [
            Item(entry.filename, "", "file", entry.filename, DANGER, "it would leave the bundle")
            for entry in entries
            if not _stays_inside(entry)
        ]
        self.odd += [
            Item(name, "", "file", name, DANGER, "twice in the archive")
            for name, times in Counter(self.names).items()
            if times > 1
        ]

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self.zip.open(self.top + name) as stream:
            yield stream


def _stays_inside(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
    linked = stat.S_ISLNK(entry.external_attr >> 16)
    return not (path.is_absolute() or ".." in path.parts or ":" in str(path) or linked)


def _inspect_file(source: _Folder | _Zip, name: str) -> Iterator[Item]:
    """What a file could execute, by its extension."""
    kind = name.lower()
    if kind.endswith(CODE):
        yield Item(name, "", "code", name, OUTSIDE, "code of its own: read it")
    elif kind.endswith(PICKLES):
        with source.open(name) as stream:
            for call in calls(stream):
                yield Item(name, "", "pickle", call, DANGER, "unpickling would call it")
    elif kind.endswith((*CONFIGS, *LOGGING)):
        with source.open(name) as stream:
            content = stream.read(LARGEST + 1)
        if kind.endswith(CONFIGS):
            yield from inspect_config(name, content)
        elif len(content) > LARGEST:
            yield Item(name, "", "file", name, DANGER, f"is larger than {LARGEST} bytes")
        else:
            yield from _inspect_logging(name, content)


def inspect_config(name: str, content: bytes, parts: Sequence[str] = ()) -> Iterator[Item]:
    """Every expression, target and macro of a configuration.

    Args:
        name: name of the file.
        content: content of the file.
        parts: the top-level entries to judge, each as what this project's bundles have there;
            empty for all.
    """
    try:
        config = parse_config(name, content)
    except ValueError as error:
        yield Item(name, "", "file", name, DANGER, str(error))
        return
    yield from inspect_content(name, config, parts)
    for where, value in walk(config):
        if isinstance(value, str) and _leads_elsewhere(value):
            why = "a place outside of the bundle and of the folder where it is run"
            yield Item(name, where, "path", value, OUTSIDE, why, "the file")


def _leads_elsewhere(text: str) -> bool:
    """Whether a string, or an expression that begins with one, is a path elsewhere."""
    return text[:1] != "%" and ELSEWHERE.match(text.lstrip("$ ('\"")) is not None


def inspect_content(name: str, config: Any, parts: Sequence[str] = ()) -> Iterator[Item]:
    """As `inspect_config`, of what `plain_config.parse_config` gave."""
    if parts and isinstance(config, dict):
        config = {key: value for key, value in config.items() if key in parts}
    values = list(walk(config))
    yield from _odd_keys(name, values)
    names: dict[str, str] = {}
    for _, value in values:
        if isinstance(value, str) and value.startswith("$"):
            names |= imported(value)
    for where, value in values:
        verdict = judge_references(value, parts) if isinstance(value, str) else (OK, "")
        if verdict[0] != OK:
            yield Item(name, where, "reference", value, *verdict, "the file")
        if isinstance(value, dict) and "_target_" in value:
            target = str(value["_target_"])
            place = f"{where}#_target_".lstrip("#")
            verdict = judge_component(value, tuple(parts))
            yield Item(name, place, "target", target, *verdict, _whose(target))
        elif isinstance(value, str) and value.startswith("$"):
            verdict = judge_expression(value, names)
            known = normal(value) in own_code().expressions
            whose = "this project" if known else "the file"
            yield Item(name, where, "expression", value, *verdict, whose)
        elif isinstance(value, str) and value.startswith("%"):
            inside = MACRO.fullmatch(value)
            verdict = (OK, "") if inside else (DANGER, "takes in another file")
            yield Item(name, where, "macro", value, *verdict, "the file")
        for key, change in value.items() if isinstance(value, dict) else ():
            if changed(key):
                place = f"{where}#{key}".lstrip("#")
                yield Item(name, place, "change", str(key), *judge_change(str(key), change))


def _odd_keys(name: str, values: Sequence[tuple[str, Any]]) -> Iterator[Item]:
    """Keys that a macro or a relative reference would make part of an expression or a path."""
    texts = [value for _, value in values if isinstance(value, str)]
    if not any(text.startswith("%") or RELATIVE.search(text) for text in texts):
        return
    for where, value in values:
        for key in value if isinstance(value, dict) else ():
            if not PLAIN_KEY.fullmatch(str(key)):
                yield Item(name, where, "key", str(key), DANGER, "a name that could be code")


def _whose(target: str) -> str:
    if target in own_code().targets:
        return "this project"
    packages = {"torch": "PyTorch", "numpy": "NumPy", "monai": "MONAI"}
    first = target.split(".")[0] if "." in target else "monai"
    return packages.get(first, first)


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
        for field in ("class", "args", "kwargs", "defaults"):
            value = parser.get(section, field, fallback="").strip()
            if value:
                verdict = judge_logging(field, value)
                yield Item(name, section, "logging", f"{field}={value}", *verdict)


def _compare_sums(source: _Folder | _Zip) -> list[Item]:
    """Files that do not match ``SHA256SUMS`` or ``models/weights.json``."""
    try:
        wanted = dict(_listed(source))
    except (*UNREADABLE, LookupError, TypeError, AttributeError) as error:
        why = f"no list of weights ({type(error).__name__})"
        return [Item(WEIGHTS, "", "file", WEIGHTS, DAMAGED, why)]
    items = []
    for name, digest in sorted(wanted.items()):
        if name not in source.names:
            items.append(Item(name, "", "file", name, DAMAGED, "listed, but missing"))
            continue
        try:
            with source.open(name) as stream:  # typeshed gives IO[bytes] no readinto
                found = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        except UNREADABLE:
            found = ""
        if found != digest:
            items.append(Item(name, "", "file", name, DAMAGED, "not the SHA-256 listed"))
    if SUMS in source.names:
        for name in sorted(set(source.names) - wanted.keys() - {SUMS}):
            items.append(Item(name, "", "file", name, DAMAGED, f"not listed in {SUMS}"))
    return items


def _listed(source: _Folder | _Zip) -> Iterator[tuple[str, str]]:
    """Files and their SHA-256, as listed in the bundle."""
    if WEIGHTS in source.names:
        with source.open(WEIGHTS) as stream:
            for entry in json.loads(stream.read(LARGEST)):
                yield f"models/{entry['file']}", entry["sha256"]
    if SUMS in source.names:
        with source.open(SUMS) as stream:
            for line in stream.read(LARGEST).decode(errors="replace").splitlines():
                digest, _, name = line.partition("  ")
                yield name, digest
