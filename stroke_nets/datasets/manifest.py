"""Manifests list the scans of a data set with checksums, lesion volumes and folds.

The schema is ``data_manifests/schema.json``; the installed package contains a copy.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import jsonschema
import numpy as np

from stroke_nets.datasets.folds import subject_folds
from stroke_nets.datasets.leaks import record_findings
from stroke_nets.datasets.published_folds import published_folds
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import write_whole
from stroke_nets.scans.discovery import left_out_by_name, scans_below, split
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.reader import open_scan, sha256

MANIFEST = "manifest.json"
logger = logging.getLogger(__name__)
PARTS = ("train", "validation", "heldout", "all", "unlabelled")


def describe(
    root: Path,
    *,
    subject: str,
    image: str,
    label: str | None,
    session: str | None = None,
    companions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Create one record of a manifest from its files.

    Args:
        root: the data root.
        subject: subject id, shared by all sessions of one person.
        image: path of the scan, relative to ``root``.
        label: path of the lesion mask, relative to ``root``; None if there is none.
        session: session id, if the subject was scanned more than once.
        companions: paths of other contrasts on the scan's grid, by name.

    Raises:
        DataError: a file cannot be read.
    """
    files = {"image": image, "label": label, **(companions or {})}
    record: dict[str, Any] = {"subject": subject, "image": image}
    if label is not None:
        mask = open_scan(root / label)
        voxels = int(np.count_nonzero(np.asanyarray(mask.dataobj)))
        voxel_ml = float(abs(np.linalg.det(mask.affine[:3, :3]))) / 1000
        record["label"] = label
        record |= {"lesion_voxels": voxels, "lesion_ml": round(voxels * voxel_ml, 4)}
    record["sha256"] = {key: sha256(root / path) for key, path in files.items() if path}
    if session is not None:
        record["session"] = session
    return record | ({"companions": dict(companions)} if companions else {})


def write(
    path: Path,
    *,
    name: str,
    licence: str,
    records: Sequence[dict[str, Any]],
    provenance: dict[str, Any],
) -> None:
    """Write a manifest atomically, after validating it against the schema."""
    content = {
        "name": name,
        "licence": licence,
        "provenance": provenance,
        "records": list(records),
    }
    _validate(content, path)
    write_whole(path, json.dumps(content, indent=1) + "\n")


def deal_folds(records: Sequence[dict[str, Any]], folds: int | None, seed: int) -> None:
    """Assign every record a size-balanced fold; sessions of a subject share it.

    Args:
        records: labelled records, modified in place.
        folds: number of folds; None puts every record into the training split.
        seed: seed of the folds.

    Raises:
        UsageError: there are more folds than subjects.
    """
    dealt = {} if folds is None else subject_folds(records, folds, seed)
    for record in records:
        record |= {"split": "train"} if folds is None else {"fold": dealt[record["subject"]]}


def load(path: Path) -> Any:
    """The content of a manifest file, not yet validated.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not JSON.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: no such manifest; write it with 'stroke-nets manifest' or 'pseudo-label'"
        )
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); write it again") from error


def content(path: Path) -> dict[str, Any]:
    """A whole manifest: name, licence, provenance and records.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a manifest.
    """
    found: dict[str, Any] = load(path)
    _validate(found, path)
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a manifest.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a manifest.
    """
    return list(content(path)["records"])


def refold(
    path: Path, out: Path, *, folds: int = 5, seed: int = 0, published: Path | None = None
) -> list[int]:
    """Write a manifest again with other folds.

    Args:
        path: the manifest.
        out: output file; may be ``path`` itself.
        folds: number of size-balanced folds, grouped by subject.
        seed: seed of the folds.
        published: a published list to use instead, see `published_folds`.

    Returns:
        The number of held-out subjects of each fold.

    Raises:
        UsageError: a file or folder is missing, there are more folds than subjects, or the
            manifest has pseudo labels or a test split, which folds would train on.
        DataError: the manifest or the published list is invalid.
    """
    whole = content(path)
    records = [r for r in whole["records"] if r.get("split") != "unlabelled"]
    if any(record.get("split") == "test" for record in records):
        raise UsageError(f"{path}: folds would train on its test split; list training cases only")
    if any("pseudo_fold" in record for record in records):
        raise UsageError(f"{path}: folds would hold pseudo labels out; deal the manifest before")
    if published is None:
        dealt = subject_folds(records, folds, seed)
        source = {"method": "size_balanced", "folds": folds, "seed": seed}
    else:
        dealt = published_folds(published, {record["subject"] for record in records})
        source = {"method": "published", "file": published.name, "sha256": sha256(published)}
    for record in records:
        record.pop("split", None)
        record["fold"] = dealt[record["subject"]]
    whole["provenance"].pop("seed", None)  # of the previous folds
    whole["provenance"]["folds"] = source
    write(out, **whole)
    held_out = Counter(dealt.values())
    return [held_out[fold] for fold in range(max(held_out, default=-1) + 1)]


def datalist(
    dataset_dir: str, part: str = "all", *, manifest: str | None = None, fold: int = 0
) -> list[dict[str, Any]]:
    """The cases of one part of a data set, as MONAI data dictionaries.

    A manifest with folds holds out ``fold`` and trains on the others; one with splits holds out
    ``test`` and trains on ``train``, whatever the fold; ``validation`` is neither. A folder
    without a manifest contains scans to predict, all of which are held out.

    Args:
        dataset_dir: the data root.
        part: ``train``, ``validation``, ``heldout``, ``all`` or, for scans without a mask,
            ``unlabelled``.
        manifest: path of the manifest; by default ``manifest.json`` in ``dataset_dir``.
        fold: the held-out fold.

    Returns:
        A dictionary with absolute ``image`` and ``label`` paths, and ``record``, for each case.

    Raises:
        UsageError: the folder or the manifest is missing, or the part has no cases.
        DataError: the manifest is invalid or lists a file outside the data root; or its training
            and held-out cases share a subject or a scan.
    """
    root = Path(dataset_dir)
    if part not in PARTS:
        raise UsageError(f"part {part!r}: choose one of {', '.join(PARTS)}")
    if not root.is_dir():
        raise UsageError(f"dataset_dir {root}: no such folder; give the data root")
    path = Path(manifest) if manifest else root / MANIFEST
    if part == "train" or manifest or path.is_file():
        records = read(path)
        leaks = record_findings(path, records) if part == "train" else []
        if leaks:
            raise DataError("\n".join(map(str, leaks)))
        cases = [as_case(root, r, path) for r in records if _in_part(r, part, fold)]
    else:
        found, left_out = scans_below(root)
        found, masks = split(found, root)
        for finding in [*left_out, *left_out_by_name(root, masks)]:
            logger.warning("%s", finding)
        scans = [str(p.relative_to(root)) for p in found]
        cases = [as_case(root, {"subject": Path(s).name, "image": s}, root) for s in scans]
    odd = [case["record"] for case in cases if "warnings" in case["record"]]
    if odd and part == "train":
        what = f"{len(odd)} of {len(cases)} cases have warnings, such as {odd[0]['image']}"
        logger.warning("%s: %s: %s", path, what, odd[0]["warnings"][0])
    if not cases:
        raise UsageError(
            f"{path}: no case for part {part!r}, fold {fold}; choose a fold that it has"
        )
    return cases


def _in_part(record: dict[str, Any], part: str, fold: int) -> bool:
    if record.get("split") == "unlabelled":
        return part == "unlabelled"
    if record.get("pseudo_fold") not in (None, fold):
        raise UsageError(
            f"fold {fold}: {record['label']} was made by models that saw this fold's held-out "
            f"cases; run 'stroke-nets pseudo-label --fold {fold}'"
        )
    held_out = record["split"] == "test" if "split" in record else record.get("fold") == fold
    in_training = record["split"] == "train" if "split" in record else not held_out
    validates = record.get("split") == "validation"
    parts = {"train": in_training, "validation": validates, "heldout": held_out, "all": True}
    return parts.get(part, False)


def as_case(root: Path, record: dict[str, Any], source: Path) -> dict[str, Any]:
    """A record as a MONAI data dictionary: absolute paths and the record itself.

    Raises:
        Refusal: a path is outside the data root.
    """
    case: dict[str, Any] = {"record": record}
    paths = {k: record[k] for k in ("image", "label") if k in record}
    for key, path in (paths | record.get("companions", {})).items():
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts or PureWindowsPath(path).drive:
            what = f"{key} {relative} leaves the data root"
            raise Refusal(Finding(str(source), "D6", what, "make it relative"))
        case[key] = str(root / relative)
    return case


def errors(content: Any) -> list[tuple[str, str]]:
    """Where and how a manifest's content violates the schema."""
    schema = json.loads(resources.files("stroke_nets.datasets").joinpath("schema.json").read_text())
    found = jsonschema.Draft202012Validator(schema).iter_errors(content)
    return [
        ("/".join(str(part) for part in error.absolute_path) or "the top", error.message)
        for error in sorted(found, key=jsonschema.exceptions.relevance, reverse=True)
    ]


def _validate(content: Any, path: Path) -> None:
    for where, what in errors(content):
        raise DataError(f"{path}: not a manifest: at {where}, {what}; write it again")
