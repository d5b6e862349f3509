"""Which scans to predict, and what their outputs are called (BIDS derivatives)."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stroke_nets.errors import UsageError, did_you_mean
from stroke_nets.scans import formats
from stroke_nets.scans.contrast import DIFFUSION, FOLDERS, SUFFIXES, T1W
from stroke_nets.scans.dicom_series import is_series
from stroke_nets.scans.discovery import (
    DESCRIPTION,
    identity,
    is_bids,
    left_out_by_name,
    lies_as_in_bids,
    scans_below,
    split,
)
from stroke_nets.scans.finding import Finding

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanFile:
    """One scan to predict, by its file's name.

    Attributes:
        path: the file; or a folder of DICOM.
        source: its path below what was given; for the sidecar, unless it has a URI.
        stem: what the names of its outputs begin with: ``sub-X[_ses-Y]...``, without ``_T1w`` (or
            ``_dwi``) and ``desc-``.
        data_set: the BIDS data set that holds it, if one does.
        uri: its BIDS URI, once the output folder links to that data set.
        contrast: of the scan: ``T1w`` or ``diffusion``.
        adc: the ADC map of diffusion, if there is one.
    """

    path: Path
    source: str
    stem: str
    data_set: Path | None = None
    uri: str | None = None
    contrast: str = T1W
    adc: Path | None = None

    @property
    def subject(self) -> str:
        """``sub-X``."""
        return identity(self.stem)[0]

    @property
    def session(self) -> str | None:
        """``ses-Y``, if the name has one."""
        return identity(self.stem)[1]

    @property
    def folder(self) -> Path:
        """Where its outputs lie, relative to the output folder."""
        return Path(*filter(None, (self.subject, self.session)), FOLDERS[self.contrast])


def find_scans(given: Path, out: Path, contrast: str = T1W) -> list[ScanFile]:
    """The scans of a file, a folder, a BIDS tree, or a folder or zip archive of one DICOM study.

    In a BIDS tree (it has ``dataset_description.json`` or ``sub-*`` folders), or a subject's folder
    in one, these are the ``sub-*_T1w`` files; in another folder, every NIfTI file that is not named
    as a mask, but of ``sub-*`` files in folders such as ``anat`` or ``func`` only those named
    ``T1w``: the folder may hold several BIDS trees. What lies in ``derivatives`` or the output
    folder is left out, which is said (`stroke_nets.scans.discovery`).
    Of diffusion, these are in any folder the files named ``dwi`` or ``*_dwi``; the ADC map of each
    is the file beside it named ``adc`` (or ``ADC``) instead.

    Args:
        given: what the user named.
        out: the output folder.
        contrast: of the scans: ``T1w`` or ``diffusion``.

    Raises:
        UsageError: nothing is there, or two scans would have outputs of one name.
    """
    if not given.exists():
        raise UsageError(f"{given}: no such file or folder; give a scan, a folder or a BIDS tree")
    if given.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{out}: the output folder is or holds the input; give another")
    if given.is_dir():
        bids = is_bids(given)
        found, left_out = _scans_below(given, out, bids, contrast)
        if not found and is_series(given):
            found = [given]
        else:
            for line in left_out:
                logger.warning("%s", line)
        if not found:
            what = f"file that ends in {', '.join(formats.READ)}"
            if bids or contrast != T1W:
                what = f"{_pattern(contrast, bids)}.nii.gz"
            raise UsageError(f"{given}: no {what} to predict; give a scan or the folder of scans")
    else:
        found = [given]
    sources = {path: path.relative_to(given).as_posix() for path in found if path != given}
    stems = _stems([(path.name, sources.get(path, path.name)) for path in found], contrast)
    scans = [
        ScanFile(
            path,
            sources.get(path, path.name),
            stem,
            _data_set(path),
            contrast=contrast,
            adc=adc_beside(path) if contrast == DIFFUSION else None,
        )
        for path, stem in zip(found, stems, strict=True)
    ]
    first: dict[str, ScanFile] = {}
    for scan in scans:
        other = first.setdefault(spaceless(scan.stem), scan)
        if other is not scan:
            raise UsageError(
                f"{scan.path}: its outputs would have the names of {other.path}'s; rename one, or "
                "give each an OUT of its own"
            )
    return scans


def contrast_by_name(given: Path, out: Path) -> str:
    """The contrast of a scan, or of a folder's, by their names: ``T1w`` or ``diffusion``.

    A folder is of diffusion if it holds DWI and, ADC maps aside, nothing that may be a T1w scan.

    Args:
        given: what the user named, which need not be there.
        out: the output folder.
    """
    if not given.is_dir():
        return DIFFUSION if _is_wanted(given, DIFFUSION, bids=False) else T1W
    t1w, dwi = (
        set(_scans_below(given, out, is_bids(given), contrast)[0]) for contrast in (T1W, DIFFUSION)
    )
    return DIFFUSION if dwi and not t1w - dwi - {adc_beside(path) for path in dwi} else T1W


def of_participants(
    scans: Sequence[ScanFile], participants: Sequence[str], sessions: Sequence[str]
) -> list[ScanFile]:
    """The scans of some participants and sessions, with or without ``sub-`` and ``ses-``.

    Args:
        scans: of a BIDS tree.
        participants: labels; none: all.
        sessions: labels; none: all.

    Raises:
        UsageError: a label that no scan has, or no scan that has both.
    """
    subjects, visits = _prefixed("sub-", participants), _prefixed("ses-", sessions)
    _require("--participant-label", subjects, {scan.subject for scan in scans})
    _require("--session-label", visits, {scan.session or "" for scan in scans})
    found = [
        scan
        for scan in scans
        if (not subjects or scan.subject in subjects) and (not visits or scan.session in visits)
    ]
    if not found:
        raise UsageError(
            "--participant-label, --session-label: no participant has a T1w scan of such a session"
        )
    return found


def _require(option: str, labels: Sequence[str], known: set[str]) -> None:
    for label in labels:
        if label not in known:
            raise UsageError(
                f"{option} {label}: no T1w scan has it{did_you_mean(label, sorted(known))}"
            )


def _prefixed(prefix: str, labels: Sequence[str]) -> list[str]:
    return [prefix + label.removeprefix(prefix) for label in labels]


def adc_beside(dwi: Path) -> Path | None:
    """The ADC map of a DWI, by its name: ``sub-1_adc.nii.gz`` beside ``sub-1_dwi.nii.gz``."""
    stem = bare(dwi.name)
    wanted = f"{stem[: -len('dwi')]}adc".lower()
    if not _is_wanted(dwi, DIFFUSION, bids=False) or not dwi.is_file():
        return None
    beside = sorted(path for path in dwi.parent.iterdir() if formats.is_scan(path))
    return next((path for path in beside if bare(path.name).lower() == wanted), None)


def _scans_below(root: Path, out: Path, bids: bool, contrast: str) -> tuple[list[Path], list[str]]:
    """Scans by their names, and a line for each reason why others were left out."""

    def aside(path: Path) -> str:
        if out.resolve() in path.resolve().parents:
            return "in the output folder"
        return "derivatives" if "derivatives" in path.relative_to(root).parts else ""

    there, said = scans_below(root, aside, [FOLDERS[contrast]])
    scans, masks = split(there, root)
    wanted = [path for path in scans if _is_wanted(path, contrast, bids)]
    taken = {*wanted, *(adc_beside(path) for path in wanted)}
    said += left_out_by_name(root, masks)
    others = [path for path in scans if path not in taken]
    said += left_out_by_name(root, others, f"not named {_pattern(contrast, bids)}")
    without = {path.name for path in root.glob("sub-*/")}
    without -= {identity(path.relative_to(root).as_posix())[0] for path in wanted}
    if wanted and without:
        what = f"{len(without)} without {_pattern(contrast, bids)}, such as {min(without)}"
        fix = "if they have such scans, name them so"
        said.append(Finding(str(root), "F25", what, fix, notice=True))
    return wanted, [str(one) for one in said]


def _pattern(contrast: str, bids: bool) -> str:
    """How wanted files are named."""
    return f"{'sub-' if bids else ''}*_{SUFFIXES[contrast]}"


def _is_wanted(path: Path, contrast: str, bids: bool) -> bool:
    """Whether a file is named as of a contrast; outside of BIDS any may be T1w."""
    bids = bids or lies_as_in_bids(path)
    if bids and not path.name.startswith("sub-"):
        return False
    named = bare(path.name).split("_")[-1] == SUFFIXES[contrast]
    return named or (contrast == T1W and not bids)


def _data_set(path: Path) -> Path | None:
    """The innermost BIDS data set that holds a file."""
    parents = path.absolute().parents
    return next((one for one in parents if (one / DESCRIPTION).is_file()), None)


def spaceless(stem: str) -> str:
    """A stem without ``space-`` and ``res-``: results on the template's grid have its own."""
    return re.sub(r"_(space|res)-[^_]+", "", stem)


def bare(name: str) -> str:
    """A file's name without the ending of its format."""
    return formats.bare(name.removesuffix(".zip"))


def _stems(names: list[tuple[str, str]], contrast: str) -> list[str]:
    """A stem for each (name, path); a name that is none of BIDS becomes a subject's label.

    Where such names are not unique (``p1/T1.nii.gz``, ``p2/T1.nii.gz``) the path takes their place.
    """
    labels = Counter(bids_label(name) for name, _ in names)
    return [
        re.sub(r"_desc-[^_]+", "", bare(name).removesuffix(f"_{SUFFIXES[contrast]}"))
        if name.startswith("sub-")
        else f"sub-{bids_label(name if labels[bids_label(name)] == 1 else path)}"
        for name, path in names
    ]


def bids_label(name: str) -> str:
    """A BIDS label: letters and digits alone; of a name without any, its checksum."""
    label = re.sub(r"[^a-zA-Z0-9]", "", bare(name))
    return label or f"scan{hashlib.sha256(bare(name).encode()).hexdigest()[:8]}"
