"""The map between the template and a scan, both ways, and its file."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from stroke_nets.errors import DataError
from stroke_nets.files import write_whole
from stroke_nets.registration.template import TEMPLATE
from stroke_nets.registration.volume import Array, Volume
from stroke_nets.scans.phi import TEXTS

NIFTI2 = 540  # bytes of its header
TURNS = 20  # of the fixed-point iteration that inverts a displacement


@dataclass(frozen=True)
class Transform:
    """Takes a place of the template to ``matrix @ (place + displacement)`` of the scan."""

    matrix: Array  # (4, 4), template's mm to scan's mm
    displacement: list[Volume] | None = None  # mm, along the three axes of the template's world

    def to_scan(self, places: Array) -> Array:
        """Places of the template, (3, ...) in mm, in the scan's world."""
        if self.displacement:
            places = places + [part.sample(places) for part in self.displacement]
        return _apply(self.matrix, places)

    def to_template(self, places: Array) -> Array:
        """Places of the scan, (3, ...) in mm, in the template's world."""
        straight = _apply(np.linalg.inv(self.matrix), places)
        found = straight
        for _ in range(TURNS if self.displacement else 0):
            found = straight - [part.sample(found) for part in self.displacement or []]
        return found


def _apply(matrix: NDArray[np.floating], places: Array) -> Array:
    shift = matrix[:3, 3].reshape(3, *[1] * (places.ndim - 1))
    return np.asarray(np.tensordot(matrix[:3, :3], places, 1) + shift)


def save(
    path: Path,
    transform: Transform,
    scan: nib.Nifti1Image,
    quality: dict[str, Any],
    scan_sha256: str = "",
) -> None:
    """Write a transform as JSON; a displacement lies beside it, as NIfTI.

    The header of the scan is kept whole, so that a mask comes back with its grid, affine, codes
    and units; its free text is blanked.
    """
    header = scan.header.copy()
    for name in (name for name in TEXTS if name in header):
        header[name] = b""
    content = {
        "template": TEMPLATE,
        "matrix": transform.matrix.tolist(),
        "displacement": None,
        "scan_header": base64.b64encode(header.binaryblock).decode(),
        "scan_sha256": scan_sha256,
        "quality": quality,
    }
    if transform.displacement:
        field = np.stack([part.voxels for part in transform.displacement], axis=-1)
        file = path.with_name(path.name.removesuffix(".json") + "_displacement.nii.gz")
        nib.save(nib.Nifti1Image(field, transform.displacement[0].affine), file)
        content["displacement"] = file.name
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
        displacement = None
        if content["displacement"]:
            image: Any = nib.load(path.with_name(content["displacement"]))
            field = np.moveaxis(image.get_fdata(dtype=np.float32), -1, 0)
            displacement = [Volume(part, image.affine) for part in field]
    except (OSError, ValueError, LookupError, TypeError, WrapStructError) as error:
        raise DataError(
            f"{path}: not a transform of 'stroke-nets normalize' ({error}); give its .json file"
        ) from error
    return Transform(matrix, displacement), header
