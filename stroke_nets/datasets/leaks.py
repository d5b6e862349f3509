"""Records of a manifest that contradict each other: `check` lists them, training refuses them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from stroke_nets.scans.finding import Finding


def record_findings(path: Path, records: Sequence[dict[str, Any]]) -> list[Finding]:
    """Find records that contradict each other (rows D1 to D4)."""
    findings: list[Finding] = []
    first: dict[tuple[str, str | None], str] = {}
    bytes_of: dict[str, dict[str, Any]] = {}
    parts: dict[str, dict[Any, str]] = defaultdict(dict)
    for record in records:
        subject, image = record["subject"], record["image"]
        key = (subject, record.get("session"))
        other = first.setdefault(key, image)
        if PurePosixPath(other).parent != PurePosixPath(image).parent:  # else: runs of a session
            what = f"{name_of(record)} stands for both {other} and {image}"
            findings.append(Finding(str(path), "D1", what, "give each person one subject id"))
        known = bytes_of.setdefault(record["sha256"]["image"], record)
        if known["subject"] != subject:
            what = f"{known['image']} and {image} are the same bytes under two subject ids"
            findings.append(Finding(str(path), "D3", what, "keep one of them"))
        parts[subject][record.get("split", record.get("fold"))] = image
    for subject, images in parts.items():
        if len(images) > 1:
            row = "D4" if {"train", "test"} <= images.keys() else "D2"
            where = " and ".join(f"{image} in {part}" for part, image in images.items())
            findings.append(Finding(str(path), row, f"{subject}: {where}", "keep them together"))
    return findings


def name_of(record: dict[str, Any]) -> str:
    """Subject and session of a record."""
    return " ".join(str(record[k]) for k in ("subject", "session") if k in record) or "a record"
