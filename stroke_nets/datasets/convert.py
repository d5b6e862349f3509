"""Link or convert a data set's files into a prepared folder.

Originals are only read. Files are written atomically and existing ones are kept, so that an
interrupted run can be continued.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from stroke_nets.files import whole
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.formats import ending
from stroke_nets.scans.reader import is_nifti, open_scan
from stroke_nets.scans.voxels import require_mask

METAIMAGE = (".mhd", ".mha")


@dataclass(frozen=True)
class Case:
    """One scan of a data set as downloaded.

    Attributes:
        subject: ``sub-`` and the subject's id.
        image: the scan.
        masks: its lesion masks, if any.
        session: ``ses-`` and the session's id, if there are sessions.
        others: other contrasts of the session, by name.
    """

    subject: str
    image: Path
    masks: Sequence[Path] = ()
    session: str | None = None
    others: Mapping[str, Path] = field(default_factory=dict)

    def named(self, suffix: str) -> str:
        """The path of a file of this case, relative to the prepared folder."""
        parts = [self.subject, *([self.session] if self.session else [])]
        return f"{'/'.join(parts)}/anat/{'_'.join(parts)}_{suffix}"


def nothing_found(source: Path, lacks: str) -> Refusal:
    """The refusal of a folder that does not contain the data set (row D7)."""
    what = f"not the data set's folder: no {lacks} in it"
    return Refusal(Finding(str(source), "D7", what, "give the folder that was unpacked"))


def bring_scan(case: Case, out: Path, suffix: str) -> str:
    """Link the case's scan, or convert it if it is a MetaImage; return its new name."""
    name = case.named(suffix + (ending(case.image) if is_nifti(case.image) else ".nii.gz"))
    if is_nifti(case.image):
        _link(case.image, out / name)
    elif not (out / name).exists():
        image = open_scan(case.image)
        _save(np.asanyarray(image.dataobj), image, out / name)
    return name


def bring_mask(case: Case, out: Path, scan: str, *, resample: bool = False) -> str | None:
    """Write the union of a case's masks on the scan's grid; every positive value is lesion.

    Args:
        case: the case.
        out: the prepared folder.
        scan: the case's scan in it.
        resample: masks may lie on another grid (nearest-neighbour interpolation).

    Returns:
        The mask's name; None if the case has none.

    Raises:
        DataError: a mask cannot be read, is not a mask, or lies on another grid.
    """
    name = case.named("label-lesion_mask.nii.gz")
    if not case.masks or (out / name).exists():
        return name if case.masks else None
    image = open_scan(out / scan)
    union = np.zeros(image.shape, np.uint8)
    for path in case.masks:
        mask = open_scan(path)
        lesion = require_mask(str(path), np.asanyarray(mask.dataobj), binarize=True)
        drawn = nib.Nifti1Image(lesion, mask.affine)
        if not resample:
            require_same_grid(image, mask, str(path))
        moved = resample_from_to(drawn, image, order=0)
        union |= np.asanyarray(moved.dataobj).astype(np.uint8)
    _save(union, image, out / name)
    return name


def bring_other(case: Case, out: Path, scan: str, contrast: str, suffix: str) -> str:
    """Write another contrast of the session on the scan's grid (linear interpolation)."""
    name = case.named(f"{suffix}.nii.gz")
    if not (out / name).exists():
        image, other = open_scan(out / scan), open_scan(case.others[contrast])
        moved = resample_from_to(other, image, order=1)
        _save(np.asanyarray(moved.dataobj).astype(np.float32), image, out / name)
    return name


def _link(original: Path, target: Path) -> None:
    """Link to a file, resolving its own links."""
    if not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(original.resolve())


def _save(voxels: np.ndarray, scan: nib.Nifti1Image, target: Path) -> None:
    """Write voxels with the scan's affine, form codes and unit."""
    target.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, scan.affine)
    for form in ("sform", "qform"):
        code = int(scan.header[f"{form}_code"])
        getattr(image, f"set_{form}")(scan.affine, code)
    image.header.set_xyzt_units("mm")
    with whole(target) as partial:
        nib.save(image, partial)
