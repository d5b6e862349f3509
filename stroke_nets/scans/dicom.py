"""Convert a DICOM series with dcm2niix (https://github.com/rordenlab/dcm2niix, 1.0.20260724).

If a slice is missing or the spacing varies, dcm2niix does not fail: it writes a volume with
misplaced slices and a resampled one (``_Eq``), and exits with 0. Both are refused here.
Header texts, which contain the time of day, are removed; no sidecar is written.
"""

import gzip
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import whole
from stroke_nets.runs.requirements import require_extra
from stroke_nets.scans.reader import open_scan

MAGIC = b"DICM"  # after a preamble of 128 bytes
WORDS = ("db_name", "descrip", "aux_file", "intent_name")  # text fields of a NIfTI header


def from_dicom(series: Path, out: Path, overwrite: bool = False) -> Path:
    """Convert the only series in a folder to NIfTI.

    Args:
        series: folder with a single series, at any depth; it is only read.
        out: file to write, ``*.nii.gz``.
        overwrite: replace an existing file.

    Returns:
        ``out``, a single volume in mm that `open_scan` accepts.

    Raises:
        UsageError: dcm2niix or the folder is missing, or the file cannot be written.
        DataError: there is no series or several, slices are missing, or it is not a single volume.
    """
    require_extra("dcm2niix", "dicom", f"{series}: DICOM")
    if not series.is_dir():
        raise UsageError(f"{series}: no such folder; give the folder of one DICOM series")
    if not out.name.endswith(".nii.gz"):
        raise UsageError(f"{out}: the scan to write must end in .nii.gz; rename it")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; give another name, or --overwrite")
    with tempfile.TemporaryDirectory() as folder:
        scan = _converted(series, Path(folder))
        open_scan(str(scan))
        content = without_words(scan.read_bytes())
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0))
    return out


def _converted(series: Path, folder: Path) -> Path:
    """The only file that dcm2niix makes from a series."""
    import dcm2niix

    options = ["-z", "n", "-b", "n", "-f", "%s_%d", "-o", str(folder)]
    command = [dcm2niix.bin, *options, str(series)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = sorted(path.name for path in folder.glob("*.nii"))
    if any("_Eq" in name for name in names):
        raise DataError(
            f"{series}: slices are missing or unevenly spaced, so that voxels would be misplaced; "
            "export the series again"
        )
    if done.returncode or not names:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise DataError(
            f"{series}: dcm2niix ended with {done.returncode} and {len(names)} scans "
            f"({said[-1] if said else 'no word'}); give the folder of one DICOM series"
        )
    if len(names) > 1:
        found = ", ".join(name.removesuffix(".nii") for name in names)
        raise DataError(f"{series}: {len(names)} scans ({found}); give the folder of one series")
    return folder / names[0]


def without_words(content: bytes) -> bytes:
    """A NIfTI-1 file without its header texts."""
    cleared = bytearray(content)
    fields: Any = nib.Nifti1Header.template_dtype.fields
    for name in WORDS:
        kind, offset = fields[name][:2]
        cleared[offset : offset + kind.itemsize] = bytes(kind.itemsize)
    return bytes(cleared)


def is_dicom(path: Path) -> bool:
    """Whether a file starts like a DICOM file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == MAGIC
