"""Which files below a folder are scans and masks: the same rules for every tool.

Hidden files, the copies that macOS puts into archives, older predictions and, in a BIDS tree, other
modalities and originals are left out. Images of other formats are never left out silently.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from stroke_nets.files import is_hidden, paths_below
from stroke_nets.scans.finding import Finding
from stroke_nets.scans.formats import is_scan, unread

DESCRIPTION = "dataset_description.json"
OTHER_DATA = {"func", "dwi", "fmap", "perf", "pet", "eeg", "meg", "ieeg"}  # folders of BIDS


def scans_below(
    root: Path, also_out: Callable[[Path], bool] = lambda path: False
) -> tuple[list[Path], list[Finding]]:
    """The images below a folder, and what was left out.

    Args:
        root: the folder.
        also_out: says of further paths that they are left out.

    Returns:
        The files, sorted; and findings: of each image of a format that is not read (row F13), and
        one notice for each reason why images were left out (row F25).
    """
    found: list[Path] = []
    others: list[Path] = []
    left_out: Counter[str] = Counter()
    predictions: dict[Path, bool] = {}
    bids = (root / DESCRIPTION).is_file() or any(root.glob("sub-*/"))
    for path in paths_below(root):
        reason = _reason(path, root, bids, predictions)
        if not reason and also_out(path):
            reason = "in the output folder"
        if not reason:
            (found if is_scan(path) else others).append(path)
        elif is_scan(path):
            left_out[reason] += 1
    findings = unread(others)
    for reason, count in left_out.items():
        what = f"{count} {'image' if count == 1 else 'images'} left out: {reason}"
        findings.append(Finding(str(root), "F25", what, "give one alone to use it", notice=True))
    return found, findings


def _reason(path: Path, root: Path, bids: bool, predictions: dict[Path, bool]) -> str:
    """Why an image is left out; empty if it is not."""
    if is_hidden(path, root):
        return "hidden, or a copy of macOS (__MACOSX, ._*)"
    parents = [one for one in path.parents if one != root and one.is_relative_to(root)]
    if bids and OTHER_DATA & {parent.name for parent in parents}:
        return "another modality's (func, dwi, fmap, ...)"
    if bids and "sourcedata" in {parent.name for parent in parents}:
        return "originals (sourcedata)"
    for parent in parents:
        if parent not in predictions:
            predictions[parent] = _holds_predictions(parent)
    return "older predictions" if any(predictions[parent] for parent in parents) else ""


def _holds_predictions(folder: Path) -> bool:
    """Whether `predict` wrote a folder."""
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return any(by["Name"] == "stroke-nets" for by in content["GeneratedBy"])
    except (OSError, ValueError, LookupError, TypeError):
        return False
