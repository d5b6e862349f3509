"""The manifest of a folder of scans and masks, which are checked before they are listed."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stroke_nets.datasets.manifest import deal_folds, describe, write
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import paths_below
from stroke_nets.scans.check import Look, Rules, check_cases
from stroke_nets.scans.discovery import identity, is_aside, scans_below
from stroke_nets.scans.finding import Finding
from stroke_nets.scans.formats import bare, is_scan, not_read

logger = logging.getLogger(__name__)

GLOB = re.compile(r"(\*\*/|\*)")
AS_REGEX = {"**/": r"((?:[^/]+/)*)", "*": r"([^/]*)"}
# Rows that a bundle's `reading` accepts: volume, orientation, nonfinite, binarize.
READABLE = {"G2", "G9", "L1", "L2", "L5"}


def from_folder(
    root: Path,
    *,
    image: str,
    label: str,
    out: Path,
    folds: int | None = 5,
    seed: int = 0,
    look: Look | None = None,
) -> int:
    """Write the manifest of a folder's scans and masks, which are read and checked first.

    The path component that starts with ``sub-`` is the subject, otherwise the scan's folder; if
    all scans lie in one folder, each is a subject. Sessions of a subject share its fold.

    Args:
        root: the data root.
        image: glob of the scans below ``root``; with a fixed ending after its last ``*``.
        label: replacement for that ending in a mask's name; or, with a ``*``, the path of the mask
            below ``root``, in which each ``*`` stands for what that of ``image`` matched.
        out: the manifest to write.
        folds: number of size-balanced folds; None puts every case into the training split.
        seed: seed of the folds.
        look: says what is odd about a scan; the manifest keeps it.

    Returns:
        The number of cases.

    Raises:
        UsageError: the folder or its scans are missing, or there are more folds than subjects.
        DataError: scans or masks are missing or cannot be used; it names all of them.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; give the data root")
    pairs = _pairs(root, image, label)
    for other in scans_below(root)[1]:
        logger.warning("%s", other)
    odd = _require_usable(root, pairs, look)
    names = _identities([scan for scan, _ in pairs])
    records: list[dict[str, Any]] = []
    for (scan, mask), (subject, session) in zip(pairs, names, strict=True):
        record = describe(root, subject=subject, session=session, image=scan, label=mask)
        records.append(record | ({"warnings": odd[scan]} if scan in odd else {}))
    deal_folds(records, folds, seed)
    source = {"image": image, "label": label, "folds": folds, "seed": seed}
    name = re.sub(r"[^a-z0-9]+", "_", root.resolve().name.lower()).strip("_") or "data"
    write(out, name=name, licence="unknown", records=records, provenance=source)
    return len(records)


def _pairs(root: Path, image: str, label: str) -> list[tuple[str, str]]:
    """Each scan that matches the glob, and its mask, relative to the root."""
    parts = GLOB.split(image)
    pattern = "".join(AS_REGEX.get(part, re.escape(part)) for part in parts)
    match = re.compile(pattern.replace(r"\?", "[^/]")).fullmatch
    found = []
    for path in paths_below(root):
        name = path.relative_to(root).as_posix()
        matched = match(name)
        if matched and not path.is_dir() and not is_aside(path, root):
            found.append((name, _mask_of(name, parts, matched.groups(), label)))
    if not found:
        raise UsageError(f"--image {image!r}: no file in {root} matches; fix the glob")
    return found


def _mask_of(scan: str, parts: Sequence[str], matched: Sequence[str], label: str) -> str:
    """The path of a scan's mask; what ``*`` matched is counted from the end."""
    wanted = GLOB.split(label)
    if len(wanted) == 1:
        return scan.removesuffix(parts[-1]) + label
    path = ""
    known = {
        star: [m for s, m in zip(parts[1::2], matched, strict=True) if s == star]
        for star in AS_REGEX
    }
    for part in reversed(wanted):
        if part not in AS_REGEX:
            path = part + path
        elif known[part]:
            path = known[part].pop() + path
        else:
            raise UsageError(f"--label {label!r}: it has more {part} than --image; give a path")
    return path


def _identities(scans: Sequence[str]) -> list[tuple[str, str | None]]:
    """Subject and session of each scan; scans that all lie in one folder are a subject each."""
    found = [identity(scan) for scan in scans]
    scans_of = Counter(subject for subject, _ in found)
    if len(scans_of) > 1 or found[0][0].startswith("sub-"):
        for subject, count in scans_of.items():
            if count > 1 and not subject.startswith("sub-"):
                logger.warning(
                    "%s: the %d scans in folders of this name are taken for one subject's; if they "
                    "are not, begin their names with sub-",
                    subject,
                    count,
                )
        return found
    return [(bare(Path(scan).name), None) for scan in scans]


def _require_usable(
    root: Path, pairs: Sequence[tuple[str, str]], look: Look | None
) -> dict[str, list[str]]:
    """Refuse what cannot be used, all at once; log what is odd, and return that of the scans."""
    foreign = [not_read(root / scan) for scan, _ in pairs if not is_scan(scan)]
    keys = ("image", "label")
    cases = [dict(zip(keys, (str(root / one) for one in pair), strict=True)) for pair in pairs]
    rules = Rules(empty_masks=True, look=look)
    found: list[Finding] = foreign or check_cases(cases, rules)
    problems = [str(f) for f in found if not f.notice and f.row not in READABLE]
    if problems:
        raise DataError("\n".join(problems))
    odd: dict[str, list[str]] = {}
    for finding in found:
        logger.warning("%s", finding)
        name = Path(finding.file).relative_to(root).as_posix()
        odd.setdefault(name, []).append(f"{finding.what}; {finding.fix}")
    return odd
