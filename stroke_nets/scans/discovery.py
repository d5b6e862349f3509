"""Which files below a folder are scans and masks, and which belong together: for every tool.

Hidden files, the copies that macOS puts into archives, older predictions and, in a BIDS tree, other
modalities and originals are left out. Images of other formats are never left out silently.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stroke_nets.files import is_hidden, paths_below
from stroke_nets.scans.finding import Finding
from stroke_nets.scans.formats import bare, is_scan, unread

DESCRIPTION = "dataset_description.json"
MASK = re.compile(
    r"(?:^|[._-])(?:mask|msk|lesion\w*|label|d?seg|OT|gt|roi)(?:[._-]|$)", re.IGNORECASE
)
MASKS = re.compile(  # folders; labelsTr and labelsTs are nnU-Net's
    r"(?:labels?|(?:lesion[_-]?)?masks?|gts?|segs?|rois?)(?:[_-]?(?:tr|ts|train|test|val))?"
    r"|segmentations?|ground[_-]?truths?|annotations?",
    re.IGNORECASE,
)
CHANNEL = re.compile(r"_\d{4}$")  # of nnU-Net's scans: case_0000, case_0001
PART = re.compile(r"(?:sub|ses)-|(?:anat|dwi)$")  # folders in a BIDS tree
OTHER_DATA = {"func", "dwi", "fmap", "perf", "pet", "eeg", "meg", "ieeg"}  # folders of BIDS


def scans_below(
    root: Path,
    also_out: Callable[[Path], str] = lambda path: "",
    modalities: Iterable[str] = ("anat",),
) -> tuple[list[Path], list[Finding]]:
    """The images below a folder, and what was left out.

    Args:
        root: the folder.
        also_out: says why a further path is left out; empty if it is not.
        modalities: the folders in a BIDS tree whose images are wanted.

    Returns:
        The files, sorted; and findings: of each image of a format that is not read (row F13), and
        one notice for each reason why images were left out (row F25).
    """
    found: list[Path] = []
    others: list[Path] = []
    left_out: Counter[str] = Counter()
    predictions: dict[Path, bool] = {}
    unwanted = OTHER_DATA - {*modalities} | {"sourcedata"} if is_bids(root) else set()
    for path in paths_below(root):
        reason = _reason(path, root, unwanted, predictions) or also_out(path)
        if not reason:
            (found if is_scan(path) else others).append(path)
        elif is_scan(path):
            left_out[reason] += 1
    findings = unread(others)
    for reason, count in left_out.items():
        what = f"{count} {'image' if count == 1 else 'images'} left out: {reason}"
        findings.append(Finding(str(root), "F25", what, "give one alone to use it", notice=True))
    return found, findings


def is_bids(root: Path) -> bool:
    """Whether a folder is a BIDS tree, or of a subject, session or modality in one."""
    above = (root.absolute(), *root.absolute().parents)
    tree = next(one for one in above if not PART.match(one.name))
    return (tree / DESCRIPTION).is_file() or any(root.glob("sub-*/"))


def lies_as_in_bids(path: Path) -> bool:
    """Whether a file's name and folder are those of BIDS, whatever lies above them."""
    return path.name.startswith("sub-") and path.parent.name in {"anat", *OTHER_DATA}


def is_t1w(path: Path) -> bool:
    """Whether BIDS calls a file a T1w scan."""
    return path.name.startswith("sub-") and bare(path.name).endswith("_T1w")


def is_probability(path: Path) -> bool:
    """Whether BIDS calls a file a map of probabilities, which is no mask of 0 and 1."""
    return bare(path.name).endswith("_probseg")


def is_mask(path: Path, root: Path) -> bool:
    """Whether a file below a folder is named as a mask, or lies in a folder that is."""
    folders = path.relative_to(root).parts[:-1]
    named = MASK.search(bare(path.name)) and not is_t1w(path)
    return bool(named) or any(MASKS.fullmatch(folder) for folder in folders)


def split(paths: Iterable[Path], root: Path) -> tuple[list[Path], list[Path]]:
    """Scans and masks, by their names."""
    named: tuple[list[Path], list[Path]] = [], []
    for path in paths:
        named[is_mask(path, root)].append(path)
    return named


def left_out_by_name(
    root: Path, paths: Sequence[Path], why: str = "named as masks"
) -> list[Finding]:
    """A notice that files were left out because of their names, or those of their folders."""
    if not paths:
        return []
    what = f"{len(paths)} left out, {why}, such as {paths[0].name}"
    return [Finding(str(root), "F25", what, "give a scan of such a name alone", notice=True)]


def scans_of(mask: Path, scans: Iterable[Path], root: Path) -> list[Path]:
    """The scans on whose grid a mask may lie, by their names, the likeliest first.

    In a tree with ``sub-*`` these are all scans of the subject and session. Elsewhere they are
    those that share most words with it, in its folder or else in any (``imagesTr``, ``labelsTr``).

    Args:
        mask: its file.
        scans: all scans below the root.
        root: the folder that was given.
    """
    scans = list(scans)
    known = {scan: identity(scan.relative_to(root).as_posix()) for scan in scans}
    own = identity(mask.relative_to(root).as_posix())
    near = [scan for scan in scans if known[scan] == own]
    if not near and own[1] is None:
        near = [scan for scan in scans if known[scan][0] == own[0]]
    words = _words(mask)
    if not near:
        near = [scan for scan in scans if words and _words(scan) and _nested(words, _words(scan))]
    shared = {scan: len(words & _words(scan)) for scan in near}
    if not own[0].startswith("sub-"):
        near = [scan for scan in near if shared[scan] == max(shared.values())]
    return sorted(near, key=lambda scan: (-shared[scan], scan))


def identity(scan: str) -> tuple[str, str | None]:
    """Subject and session from a scan's path, relative to the data root, or from its name.

    The first folder, or else the name, that begins with ``sub-`` gives the subject (without either,
    the scan's folder does), and the first ``ses-`` of a folder or of the name the session.
    """
    path = Path(scan).with_name(bare(Path(scan).name))
    subject = re.search(r"(?:^|/)(sub-[^/_]+)", path.as_posix())
    session = re.search(r"(?:^|[/_])(ses-[^/_]+)", path.as_posix())
    own = subject[1] if subject else path.parent.name or path.name
    return own, session[1] if session else None


def _words(path: Path) -> frozenset[str]:
    """The words of a name, without those that call it a mask and without nnU-Net's channel."""
    words = re.split(r"[^a-z0-9]+", CHANNEL.sub("", bare(path.name)).lower())
    return frozenset(word for word in words if word and not MASK.fullmatch(word))


def _nested(one: frozenset[str], other: frozenset[str]) -> bool:
    return one <= other or other <= one


def _reason(path: Path, root: Path, unwanted: set[str], predictions: dict[Path, bool]) -> str:
    """Why an image is left out; empty if it is not."""
    if is_hidden(path, root):
        return "hidden, or a copy of macOS (__MACOSX, ._*)"
    parents = [one for one in path.parents if one != root and one.is_relative_to(root)]
    found = unwanted & {parent.name for parent in parents}
    if found:
        originals = "sourcedata" in found
        return (
            "originals (sourcedata)" if originals else "another modality's (func, dwi, fmap, ...)"
        )
    for parent in parents:
        if parent not in predictions:
            predictions[parent] = _holds_predictions(parent)
    return "older predictions" if any(predictions[parent] for parent in parents) else ""


def is_aside(path: Path, root: Path) -> bool:
    """Whether a file is hidden, a copy of macOS or an older prediction, whatever it is named."""
    return bool(_reason(path, root, set(), {}))


def _holds_predictions(folder: Path) -> bool:
    """Whether `predict` wrote a folder."""
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return any(by["Name"] == "stroke-nets" for by in content["GeneratedBy"])
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return False
