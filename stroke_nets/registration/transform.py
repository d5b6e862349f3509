"""The map between the template and a scan, both ways, and its file."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from stroke_nets.errors import DataError
from stroke_nets.files import write_whole
from stroke_nets.registration.template import TEMPLATE
from stroke_nets.registration.volume import Array
from stroke_nets.scans.phi import TEXTS

NIFTI2 = 540  # bytes of its header


@dataclass(frozen=True)
class Transform:
    """Takes a place of the template to its place in the scan."""

    matrix: Array  # (4, 4), template's mm to scan's mm

    def to_scan(self, places: Array) -> Array:
        """Places of the template, (3, ...) in mm, in the scan's world."""
        return _apply(self.matrix, places)

    def to_template(self, places: Array) -> Array:
        """Places of the scan, (3, ...) in mm, in the template's world."""
        return _apply(np.linalg.inv(self.matrix), places)


def _apply(matrix: NDArray[np.floating], places: Array) -> Array:
    shift = matrix[:3, 3].reshape(3, *[1] * (places.ndim - 1))
    return np.asarray(np.tensordot(matrix[:3, :3], places, 1) + shift)


def save(
    path: Path,
    transform: Transform,
    scan: nib.Nifti1Image,
    quality: dict[str, float],
    scan_sha256: str = "",
    warnings: Sequence[str] = (),
) -> None:
    """Write a transform as JSON.

    The header of the scan is kept whole, so that a mask comes back with its grid, affine, codes
    and units; its free text is blanked.
    """
    header = scan.header.copy()
    for name in (name for name in TEXTS if name in header):
        header[name] = b""
    content = {
        "template": TEMPLATE,
        "matrix": transform.matrix.tolist(),
        "scan_header": base64.b64encode(header.binaryblock).decode(),
        "scan_sha256": scan_sha256,
        "quality": quality,
        "warnings": list(warnings),
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")


def load(path: Path) -> tuple[Transform, nib.Nifti1Header]:
    """A transform and the header of its scan.

    Raises:
        DataError: the file is not a transform that ``save`` wrote.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        block = base64.b64decode(content["scan_header"])
        header = (nib.Nifti2Header if len(block) == NIFTI2 else nib.Nifti1Header)(block)
        matrix = np.array(content["matrix"], dtype=float).reshape(4, 4)
        if content.get("displacement"):
            raise ValueError("it has splines, which this version no longer reads")
    except (OSError, ValueError, RecursionError, LookupError, TypeError, WrapStructError) as error:
        raise DataError(
            f"{path}: not a transform of 'stroke-nets normalize' ({error}); give its .json file"
        ) from error
    return Transform(matrix), header
