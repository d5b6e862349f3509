"""Check that scans, masks and data sets are valid.

Every file is opened by `stroke_nets.scans.reader`; all problems are collected before reporting.
Rows: F files, G geometry, L intensities and labels, D data sets.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib

from stroke_nets.datasets import manifest
from stroke_nets.datasets.leaks import name_of, record_findings
from stroke_nets.errors import DataError, UsageError
from stroke_nets.progress import track
from stroke_nets.scans.discovery import (
    identity,
    is_bids,
    is_probability,
    is_t1w,
    lies_as_in_bids,
    scans_below,
    scans_of,
    split,
)
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.formats import READ, bare
from stroke_nets.scans.geometry import Grid, compare_grids
from stroke_nets.scans.reader import Scan, read_scan, sha256
from stroke_nets.scans.voxels import require_image, require_mask
from stroke_nets.text_table import text_table

Look = Callable[[Scan], list[Finding]]


@dataclass(frozen=True)
class Rules:
    """Which unusual files are accepted, and how they are read.

    Attributes:
        empty_masks: accept masks without lesion.
        orientation: axis codes, such as RAS, for files that do not specify an orientation.
        volume: index of the volume to use from 4D files.
        nonfinite: replacement for NaN and infinite voxels of scans; None refuses them.
        binarize: treat every positive value of a mask as lesion.
        segment: name of the lesion's segment in ``.seg.nrrd`` files with several.
        look: says what is odd about a scan, besides; no rule of a configuration.
    """

    empty_masks: bool = False
    orientation: str | None = None
    volume: int | None = None
    nonfinite: float | None = None
    binarize: bool = False
    segment: str | None = None
    look: Look | None = None

    @property
    def opening(self) -> dict[str, Any]:
        """The options of `reader.Scan`."""
        return {k: getattr(self, k) for k in ("volume", "orientation", "segment")}

    def __post_init__(self) -> None:
        """Refuse invalid axis codes."""
        codes = self.orientation
        if codes is not None and not all(
            len({*codes} & {*pair}) == 1 for pair in ("LR", "PA", "IS")
        ):
            raise UsageError(f"--orientation {codes}: give three axis codes, such as RAS")

    @classmethod
    def of(cls, reading: Mapping[str, Any]) -> "Rules":
        """The rules of a configuration; an unknown name is a usage error."""
        names = [f.name for f in fields(cls) if f.name != "look"]
        for name in reading:
            if name not in names:
                raise UsageError(f"reading: no rule {name!r}; choose from {', '.join(names)}")
        return cls(**reading)


@dataclass
class Seen:
    """The result of checking a file: its findings and, unless it was refused, its grid."""

    path: Path
    grid: Grid | None = None
    findings: list[Finding] = field(default_factory=list)


def require_same_grid(
    image: nib.Nifti1Image, label: nib.Nifti1Image, name: str, kind: str = "mask"
) -> None:
    """Refuse a mask whose grid differs from its scan's; a different orientation is accepted.

    Raises:
        DataError: the shapes differ, or the affines differ by more than rounding errors.
    """
    grids = [Grid(volume.shape, volume.affine) for volume in (image, label)]
    finding = compare_grids(name, grids[0], grids[1], kind)
    if finding is not None:
        raise Refusal(finding)


def require_fit(cases: Iterable[dict[str, Any]], reading: Mapping[str, Any] | None = None) -> None:
    """Read every file of every case and report all problems at once.

    Args:
        cases: data dictionaries with ``image`` and optionally ``label`` paths and ``record``.
        reading: fields of `Rules`, from a bundle's configuration.

    Raises:
        DataError: with one line per problem.
    """
    cases = list(cases)
    findings = shared_names([Path(case["image"]) for case in cases])
    findings += check_cases(cases, Rules.of({"empty_masks": True, **(reading or {})}))
    problems = [str(finding) for finding in findings if not finding.notice]
    if problems:
        raise DataError("\n".join(problems))


def check(
    path: Path,
    *,
    root: Path | None = None,
    bids: bool = False,
    rules: Rules | None = None,
    workers: int = 2,
) -> list[Finding]:
    """Find all problems of a scan, a folder of scans, a BIDS tree or a manifest.

    Args:
        path: a scan, a folder, or a manifest (``.json``); a folder that contains a
            ``manifest.json`` is checked against it.
        root: the data root of a manifest; by default the folder that contains it.
        bids: the folder must be a BIDS tree.
        rules: which unusual files are accepted.
        workers: number of files read in parallel.

    Raises:
        UsageError: ``path`` does not exist.
        DataError: the manifest is not JSON.
    """
    rules = rules or Rules()
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: no such file or folder; give a scan, a folder or a manifest")
    if path.is_dir() and (path / manifest.MANIFEST).is_file():
        path = path / manifest.MANIFEST
    if path.suffix == ".json":
        return check_manifest(path, root or path.parent, rules, workers)
    if path.is_dir():
        return check_folder(path, bids, rules, workers)
    return _see(rules, (path, "image", None)).findings


def check_manifest(path: Path, root: Path, rules: Rules, workers: int = 2) -> list[Finding]:
    """Check a manifest's records (rows D1 to D6), then every file that they list."""
    content = manifest.load(path)
    records = content.get("records") if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise DataError(f"{path}: not a manifest; write it again")
    findings = [
        Finding(str(path), "D5", f"{name_of(r)} has no label", "name its mask")
        for r in records
        if "label" not in r and r.get("split") != "unlabelled"
    ]
    if not findings:
        findings = [
            Finding(str(path), "D5", f"at {where}: {what}", "write it again")
            for where, what in manifest.errors(content)
        ]
    if findings:
        return findings
    findings = record_findings(path, records)
    cases = []
    for record in records:
        try:
            cases.append(manifest.as_case(root, record, path))
        except Refusal as error:
            findings.append(error.finding)
    return findings + check_cases(cases, rules, workers)


def check_cases(cases: Sequence[dict[str, Any]], rules: Rules, workers: int = 2) -> list[Finding]:
    """Read every file of every case and compare each case's grids.

    Args:
        cases: data dictionaries with ``image`` and optionally ``label``, companions and the
            manifest's ``record``, whose checksums the files must match.
        rules: which unusual files are accepted; a record with 0 lesion voxels allows an empty mask.
        workers: number of files read in parallel.
    """
    jobs, findings = [], []
    for case in cases:
        record = case.get("record", {})
        sums = record.get("sha256", {})
        for key in ("image", "label", *record.get("companions", {})):
            if key in case:
                empty = key == "label" and record.get("lesion_voxels") == 0
                role = "declared" if empty else key if key in ("image", "label") else "companion"
                jobs.append((Path(case[key]), role, sums.get(key)))
    seen = {s.path: s for s in _see_all(jobs, rules, workers)}
    for case in cases:
        scan = seen[Path(case["image"])]
        for key in ("label", *case.get("record", {}).get("companions", {})):
            if key in case:
                findings += _compare(scan, seen[Path(case[key])])
    return [f for s in seen.values() for f in s.findings] + findings


def check_folder(root: Path, bids: bool, rules: Rules, workers: int = 2) -> list[Finding]:
    """Check every scan and mask below a folder; masks are recognised by their names.

    A mask must lie on the grid of one of the scans that `discovery.scans_of` finds for it.
    """
    paths, left_out = scans_below(root)
    findings = (_tree_findings(root) if bids else []) + left_out
    if not paths:
        what = f"no file ends in {', '.join(READ)}"
        return [*findings, Finding(str(root), "D7", what, "give the folder that holds the scans")]
    scans, masks = split(paths, root)
    every = not is_bids(root)  # or else only what BIDS calls T1w is segmented
    wanted = {p for p in scans if is_t1w(p) or (every and not lies_as_in_bids(p))}
    jobs = [(p, "image" if p in wanted else "companion", None) for p in scans]
    jobs += [(p, "companion" if is_probability(p) else "label", None) for p in masks]
    seen = {s.path: s for s in _see_all(jobs, rules, workers)}
    findings += [f for s in seen.values() for f in s.findings]
    findings += shared_names(scans)
    findings += _twins(root, scans)
    alone = []
    for mask in masks:
        near = scans_of(mask, scans, root)
        compared = [_compare(seen[scan], seen[mask]) for scan in near]
        if compared and all(compared):
            findings += compared[0]
        alone += [] if near else [mask]
    if alone and scans:
        what = f"no scan fits the names of {len(alone)} masks, such as {alone[0].name}"
        fix = "their places were not compared; give them their scans' names"
        findings.append(Finding(str(root), "G20", what, fix, notice=True))
    return findings


def as_table(findings: Sequence[Finding]) -> str:
    """The findings as a table: file, row, what is wrong, how to fix it."""
    rows = ((f.file, f.row, f.what, f.fix) for f in findings)
    return text_table(("file", "row", "what", "how to fix"), rows)


def _see_all(jobs: Sequence[tuple], rules: Rules, workers: int) -> list[Seen]:
    """Read files with a progress bar; decompression and hashing release the GIL."""
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(partial(_see, rules), jobs)
        return list(track(done, "checking", len(jobs)))


def _see(rules: Rules, job: tuple[Path, str, str | None]) -> Seen:
    """Read an ``image``, its ``companion``, its ``label`` or a ``declared`` lesion-free label."""
    path, role, checksum = job
    seen = Seen(path)
    try:
        scan = read_scan(path, sha256=checksum, **rules.opening)
        seen.findings += scan.notices
        seen.grid, voxels = scan.grid, scan.voxels
        if role in ("image", "companion"):
            require_image(str(path), voxels, rules.nonfinite)
            seen.findings += rules.look(scan) if rules.look and role == "image" else []
        elif not require_mask(str(path), voxels, rules.binarize).any() and role == "label":
            if not rules.empty_masks:
                fix = "if it is meant, give --lesion-free or a manifest that says 0 voxels"
                seen.findings.append(Finding(str(path), "L4", "an empty mask", fix))
    except Refusal as error:
        seen.findings.append(error.finding)
    return seen


def _compare(scan: Seen, mask: Seen) -> list[Finding]:
    if scan.grid is None or mask.grid is None:
        return []  # already refused
    finding = compare_grids(str(mask.path), scan.grid, mask.grid)
    return [] if finding is None else [finding]


def _tree_findings(root: Path) -> list[Finding]:
    """Find what is missing from a BIDS tree (row D7)."""
    lacks = {
        "dataset_description.json": (root / "dataset_description.json").is_file(),
        "sub-*/ folders": any(root.glob("**/sub-*/")),
    }
    fix = "give the root of a BIDS tree"
    return [
        Finding(str(root), "D7", f"not a BIDS tree: no {part}", fix)
        for part, found in lacks.items()
        if not found
    ]


def shared_names(scans: Iterable[Path]) -> list[Finding]:
    """Find scans whose predictions would have the same name (row D8)."""
    findings: list[Finding] = []
    taken: dict[Path, Path] = {}
    for scan in scans:
        other = taken.setdefault(scan.with_name(_stem(scan)), scan)
        if other != scan:
            what = f"its mask would have the name of {other.name}'s"
            findings.append(Finding(str(scan), "D8", what, "rename or remove one of them"))
    return findings


def _twins(root: Path, scans: Iterable[Path]) -> list[Finding]:
    """Find subjects in two folders (row D1) and identical files of two subjects (row D3)."""
    findings, sizes = [], defaultdict(list)
    named: dict[tuple[str, ...], Path] = {}
    for scan in scans:
        subject, session = identity(scan.relative_to(root).as_posix())
        derived = "derivatives" in scan.relative_to(root).parts  # may keep the names of its sources
        other = scan if derived else named.setdefault((subject, session or "", scan.name), scan)
        if other != scan and scan.name.startswith("sub-"):
            what = f"{subject} lies at {other.relative_to(root)} too"
            findings.append(Finding(str(scan), "D1", what, "give each person one subject id"))
        if scan.is_file() and os.path.getsize(scan):
            sizes[os.path.getsize(scan)].append((subject, scan))
    for group in (g for g in sizes.values() if len(g) > 1):
        bytes_of: dict[str, tuple[str, Path]] = {}
        for subject, scan in group:
            other_subject, other = bytes_of.setdefault(sha256(scan), (subject, scan))
            if other_subject != subject:
                what = f"the same bytes as {other.relative_to(root)}, another subject's"
                findings.append(Finding(str(scan), "D3", what, "keep one of them"))
    return findings


def _stem(path: Path) -> str:
    return bare(path.name)
