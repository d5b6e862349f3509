"""Find personally identifying data: in header text, sidecars, tables and file names.

Rows P of the checks. Findings give the location, never the value. Faces are not detected.
Fields: the BIDS specification (https://bids-specification.readthedocs.io) and those that dcm2niix
calls private or copies from the scanner (https://github.com/rordenlab/dcm2niix, BIDS/README).
"""

import csv
import json
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import extension_codes
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from stroke_nets.files import paths_below
from stroke_nets.scans.finding import Finding
from stroke_nets.scans.reader import is_nifti

TEXTS = ("descrip", "db_name", "intent_name", "aux_file", "data_type")
# Descriptions that programs write; of dcm2niix, the echo time but not the time of day.
SIGNED = re.compile(
    r"(?:FSL|SPM|spm|AFNI|ITK|ANTs|FreeSurfer|[Nn]i[Bb]abel|MRtrix|dcm2niix?|mri_\w+|TE=)"
    r"[\w .:;+=-]*|\d+\.\d+\.\d+(?:[.:][0-9a-f]+)?"
)
FIELDS = set(
    # who
    "PatientName PatientID OtherPatientIDs PatientBirthDate PatientBirthTime PatientAge "
    "PatientWeight PatientSize PatientAddress PatientTelephoneNumbers PatientMotherBirthName "
    "EthnicGroup Occupation "
    # which visit
    "AccessionNumber StudyID StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID "
    "StudyDate SeriesDate AcquisitionDate ContentDate InstanceCreationDate AcquisitionDateTime "
    "StudyTime "
    # where and by whom
    "InstitutionName InstitutionAddress InstitutionalDepartmentName StationName DeviceSerialNumber "
    "ReferringPhysicianName PerformingPhysicianName RequestingPhysician PhysiciansOfRecord "
    "OperatorsName "
    # free text
    "ImageComments PatientComments AdditionalPatientHistory StudyComments".split()
)
COLUMN = re.compile(
    r"(?:^|[_ ])(?:(?:sur|first|last|patient|full)_?name|name|birth\w*|dob|mrn|address|phone|"
    r"e?mail|ssn|zip|postcode|insurance|date|\w+_date|acq_time)(?:$|[_ ])",
    re.IGNORECASE,
)
SHIFTED = 1925  # BIDS: dates before this year have been shifted
OLDEST = 89  # HIPAA's safe harbour: higher ages are identifying
DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_.])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)(?!\d)"
)
NUMBER = re.compile(r"(?<![\d.])\d{6,}(?![\d.]*\d)")
NAME = re.compile(
    r"(?<![A-Za-z0-9])([A-Z][a-z]{2,})[ ,_]+([A-Z][a-z]{2,})(?![A-Za-z0-9])|[A-Za-z]{2,}\^[A-Za-z]+"
)
PLAIN = set(  # capitalised words that are not names
    "Anat Atlas Axial Bias Brain Case Control Coronal Corrected Data Deface Defaced Flair Head "
    "Healthy Image Images Label Labels Left Lesion Lesions Mask Masks Native Normalized Patient "
    "Probability Raw Registered Report Right Sagittal Scan Scans Session Simulated Site Skull "
    "Space Stripped Stroke Subject Summary Test Testing Train Training Uncertainty".split()
)


def find_personal(path: Path) -> list[Finding]:
    """Find personally identifying data in a file or below a folder (rows P1 to P5).

    Args:
        path: a scan, or a folder with scans, sidecars and tables. Unreadable files are skipped;
            the other rows of the checks report them.
    """
    files = [p for p in paths_below(path) if p.is_file()] if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    findings = list(_in_names(root, files))
    for file in files:
        if is_nifti(file):
            findings += _in_header(file)
        elif file.suffix == ".json":
            findings += _in_sidecar(file)
        elif file.suffix in (".tsv", ".csv"):
            findings += _in_table(file)
    return findings


def _in_header(file: Path) -> Iterator[Finding]:
    """Free text (row P1) and extensions (row P2)."""
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            header: Any = nib.load(file).header
    except (HeaderDataError, ValueError, UserWarning):  # an extension of an impossible size
        what = "a header or header extension that cannot be read"
        yield Finding(str(file), "P2", what, "remove the extension before sharing")
        return
    except (ImageFileError, WrapStructError, OSError, EOFError, zlib.error):
        return
    for name in TEXTS:
        text = header[name].item().decode("latin-1").strip() if name in header else ""
        if text and (not SIGNED.fullmatch(text) or "Time=" in text):
            what = f"header field {name} holds {len(text)} letters of text"
            yield Finding(str(file), "P1", what, "read it, and blank it before sharing")
    for extension in header.extensions:
        code = extension.get_code()
        kind = extension_codes.label[code] if code in extension_codes.label else "unknown"
        what = f"a header extension (code {code}, {kind}) of {extension.get_sizeondisk()} bytes"
        yield Finding(str(file), "P2", what, "read it, and remove it before sharing")


def _in_sidecar(file: Path) -> Iterator[Finding]:
    """Fields that identify persons, visits and places (row P3)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return
    for field in sorted(
        {name for name, value in _walk(content) if name in FIELDS and _says(value)}
    ):
        yield Finding(str(file), "P3", f"it has the field {field}", "remove it before sharing")


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Every field of nested JSON."""
    for key, value in content.items() if isinstance(content, dict) else ():
        yield key, value
        yield from _walk(value)
    for value in content if isinstance(content, list) else ():
        yield from _walk(value)


def _says(value: Any) -> bool:
    return str(value).strip().lower() not in (
        "",
        "none",
        "n/a",
        "[]",
        "{}",
        "anonymous",
        "anonymized",
    )


def _in_table(file: Path) -> Iterator[Finding]:
    """Columns with names, dates and similar data, and ages above 89 (row P5)."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t" if file.suffix == ".tsv" else ","))
    except (ValueError, OSError, csv.Error):
        return
    for column in rows[0] if rows else ():
        values = [str(row[column]) for row in rows if column and _says(row[column])]
        if not column or not values:
            continue
        if COLUMN.search(column) and not all(_is_shifted(value) for value in values):
            what = f"its column {column} may tell who someone is"
            yield Finding(str(file), "P5", what, "remove it, or shift dates, before sharing")
        if column.lower() == "age" and any(_is_above(value, OLDEST) for value in values):
            yield Finding(str(file), "P5", f"ages above {OLDEST}", f"write {OLDEST + 1} for them")


def _is_shifted(value: str) -> bool:
    year = re.match(r"(\d{4})-", value)
    return year is not None and int(year[1]) < SHIFTED


def _is_above(value: str, limit: float) -> bool:
    try:
        return float(value) > limit
    except ValueError:
        return False


def _in_names(root: Path, files: list[Path]) -> Iterator[Finding]:
    """Dates, long numbers and personal names in the names of files and folders (row P4)."""
    seen = set()
    for file in files:
        relative = file.relative_to(root)
        for depth, part in enumerate(relative.parts, 1):
            place = root / Path(*relative.parts[:depth])
            kind = _kind(part)
            if kind and place not in seen:
                seen.add(place)
                yield Finding(str(place), "P4", f"its name seems to hold {kind}", "rename it")


def _kind(name: str) -> str | None:
    """The kind of personal data that a file name appears to contain."""
    if DATE.search(name):
        return "a date"
    if NUMBER.search(name):
        return "a long number, as a record's"
    for found in NAME.finditer(name):
        if not {found[1], found[2]} & PLAIN:
            return "the name of a person"
    return None
