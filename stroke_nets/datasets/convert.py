"""Link or convert a data set's files into a prepared folder.

Originals are only read. Files are written atomically and existing ones are kept, so that an
interrupted run can be continued.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from stroke_nets.files import hidden_folder, whole
from stroke_nets.runs.requirements import require_extra
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.reader import AGAIN, ENDINGS, is_nifti, open_scan
from stroke_nets.scans.voxels import require_mask

METAIMAGE = (".mhd", ".mha")
BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "FLOAT": 4, "DOUBLE": 8}  # per MetaImage voxel


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
    ending = next((e for e in ENDINGS if is_nifti(case.image) and case.image.name.endswith(e)), "")
    name = case.named(suffix + (ending or ".nii.gz"))
    if ending:
        _link(case.image, out / name)
    elif not (out / name).exists():
        _convert_metaimage(case.image, out / name)
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
        if is_nifti(path):
            mask = open_scan(path)
        else:
            with hidden_folder((out / name).parent) as folder:
                _convert_metaimage(path, folder / "mask.nii.gz")
                mask = open_scan(folder / "mask.nii.gz")
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


def _convert_metaimage(original: Path, target: Path) -> None:
    """Convert a MetaImage to NIfTI through SimpleITK, whose axes point to L, P and S.

    Raises:
        UsageError: SimpleITK is not installed.
    """
    require_extra("SimpleITK", "metaimage", f"{original}: a MetaImage")
    import SimpleITK as sitk

    _require_whole(original)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as partial:
        sitk.WriteImage(sitk.ReadImage(str(original)), str(partial))


def _require_whole(path: Path) -> None:
    """Refuse a MetaImage with missing voxels, which ITK would fill with zeros."""
    content = path.read_bytes()
    head, _, rest = content.partition(b"ElementDataFile")
    lines = [line.partition("=") for line in head.decode("ascii", "replace").splitlines()]
    fields = {key.strip(): value.strip() for key, _, value in lines}
    pointed, _, local = rest.partition(b"\n")
    name = pointed.decode().strip(" =\r")
    if name != "LOCAL":
        data = path.with_name(name)
        if not data.is_file():
            what = f"its voxels in {name} are missing"
            raise Refusal(Finding(str(path), "F12", what, AGAIN))
        local = data.read_bytes()
    try:
        packed = fields.get("CompressedData", "False") == "True"
        have = len(zlib.decompress(local) if packed else local)
        kind = fields["ElementType"].removeprefix("MET_").removeprefix("U")
        need = int(np.prod([int(n) for n in fields["DimSize"].split()])) * BYTES[kind]
    except (zlib.error, KeyError, ValueError) as error:
        raise Refusal(Finding(str(path), "F5", f"damaged ({error})", AGAIN)) from error
    if have < need:
        what = f"cut short: it has {have} of {need} bytes"
        raise Refusal(Finding(str(path), "F1", what, AGAIN))
