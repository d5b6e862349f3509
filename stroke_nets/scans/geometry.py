"""A scan's geometry, and whether two files share a grid: rows G1 to G16 and G19 of the checks.

NIfTI-1, https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields: a form with code 0 is
undefined, and lengths are in mm unless the header specifies metres or micrometres.
"""

import math
from itertools import product
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from stroke_nets.scans.finding import Finding, Refusal

MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # one unit of length: unknown, metre, mm, micrometre
UNITS = {1: "metre", 2: "mm", 3: "micrometre"}
AFFINE_TOLERANCE_MM = 1e-2  # headers store float32: a rounding error at 200 mm is 1e-5
FORM_TOLERANCE_MM = 0.1  # at the volume's corners; float32 quaternions err by 1e-3 at 200 mm
VOXEL_MM = (0.02, 100.0)  # outside of it, the unit of length is wrong: metres, micrometres
SHEAR_TOLERANCE = 1e-3  # cosine between two axes: 0.2 mm at 200 mm


class Grid(NamedTuple):
    """A volume's shape and its affine in mm."""

    shape: tuple[int, ...]
    affine: NDArray[Any]


def unit_mm(header: Any) -> float:
    """The header's unit of length, in mm."""
    return MM.get(int(header["xyzt_units"]) & 7, 1.0)


def select_volume(
    name: str, voxels: NDArray[Any], volume: int | None
) -> tuple[NDArray[Any], list[Finding]]:
    """The 3D volume of a 3D or 4D array (rows G1, G2).

    Raises:
        Refusal: there are several volumes, and none or a missing one was selected.
    """
    if voxels.ndim == 3:
        return voxels, []
    count = voxels.shape[3]
    if volume is None and count > 1:
        fix = "save one volume as a file of its own (a bundle takes one with reading: {volume: 0})"
        raise Refusal(Finding(name, "G2", f"4D, with {count} volumes", fix))
    if not 0 <= (volume or 0) < count:
        fix = f"choose one from 0 to {count - 1}"
        raise Refusal(Finding(name, "G2", f"there is no volume {volume}", fix))
    notice = Finding(
        name, "G1", f"4D; volume {volume or 0} of {count} is used", "none needed", True
    )
    return voxels[..., volume or 0], [notice]


def place(
    name: str, header: Any, shape: tuple[int, ...], orientation: str | None
) -> tuple[NDArray[Any], list[Finding]]:
    """A volume's affine in mm (rows G9 to G16 and G19).

    The header's forms are converted to mm; its unit is kept, so that a mask can be written in it.

    Args:
        name: the file, for messages.
        header: the NIfTI header; modified.
        shape: the volume's shape, X x Y x Z.
        orientation: axis codes for a header that defines no orientation.

    Raises:
        Refusal: the header does not define the voxels' positions, or contradicts itself.
    """
    notices = _mend_sizes(name, header)
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope) or (not abs(slope) > 0 and abs(inter) > 0):  # both may be NaN: no scaling
        what = f"scl_slope is {slope:g}, so it and scl_inter {inter:g} do not apply"
        notices.append(Finding(name, "G16", what, "none needed if raw values are meant", True))
    forms = _forms(name, header, shape, orientation)
    for affine in forms.values():
        _require_sound(name, affine)
    scale = unit_mm(header)
    if scale != 1:
        what = f"in {UNITS[int(header['xyzt_units']) & 7]}s; converted to mm"
        notices.append(Finding(name, "G15", what, "none needed if the unit is right", True))
        for form, affine in forms.items():
            affine[:3] *= scale
            _set_form(header, form, affine)
    first, *others = forms.values()
    _require_length(name, header, first)
    for other in others:
        gap = _corner_gap(shape, first, other)
        if gap > FORM_TOLERANCE_MM:
            what = f"its sform and qform lie up to {gap:.3g} mm apart"
            raise Refusal(
                Finding(name, "G10", what, "keep the right one and set the other's code 0")
            )
    return first, notices


def canonical(grid: Grid) -> Grid:
    """The same voxels with axes in the order and direction nearest to RAS."""
    turn = io_orientation(grid.affine)
    shape = tuple(grid.shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return Grid(shape, grid.affine @ inv_ornt_aff(turn, grid.shape))


def compare_grids(name: str, scan: Grid, mask: Grid, kind: str = "mask") -> Finding | None:
    """The problem of a mask's grid; None if only the orientation differs (rows G4 to G8).

    Args:
        name: the mask's file name, for the message.
        scan: the scan's grid.
        mask: the mask's grid.
        kind: what it is, for the message.
    """
    fix = f"resample the {kind} onto the scan"
    a, b = canonical(scan), canonical(mask)
    if a.shape != b.shape:
        what = f"the {kind}'s shape {mask.shape} is not the scan's {scan.shape}"
        return Finding(name, "G4", what, fix)
    gap = float(np.abs(a.affine - b.affine).max())
    if gap <= AFFINE_TOLERANCE_MM:
        return None
    sizes = [nib.affines.voxel_sizes(grid.affine) for grid in (a, b)]
    if np.abs(sizes[0] - sizes[1]).max() > AFFINE_TOLERANCE_MM:
        what = f"the {kind}'s voxels measure {sizes[1].round(3)} mm, the scan's {sizes[0].round(3)}"
        return Finding(name, "G8", what, fix)
    codes = ["".join(nib.aff2axcodes(grid.affine)) for grid in (scan, mask)]
    what = f"the {kind}'s affine differs from the scan's by {gap:.3g} mm"
    if codes[0] != codes[1]:
        return Finding(name, "G6", f"{what}; the {kind} is {codes[1]}, the scan {codes[0]}", fix)
    return Finding(name, "G5", what, fix)


def _mend_sizes(name: str, header: Any) -> list[Finding]:
    """Make voxel sizes positive; 0 is replaced by the sform's value, or 1 (row G14)."""
    notices = []
    stored = header["pixdim"][1:4].copy()
    for axis, size in enumerate(stored):
        if not size > 0:
            column = np.array([header[f"srow_{row}"][axis] for row in "xyz"])
            length = float(np.linalg.norm(column)) if header["sform_code"] > 0 else abs(size)
            used = length if np.isfinite(length) and length > 0 else 1.0
            header["pixdim"][axis + 1] = used
            what = f"pixdim[{axis + 1}] is {size:g}; {used:g} is used"
            notices.append(Finding(name, "G14", what, "none needed if that is right", True))
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard treats 0 as 1
    return notices


def _forms(
    name: str, header: Any, shape: tuple[int, ...], orientation: str | None
) -> dict[str, NDArray[Any]]:
    """The affines that the header defines, as stored, the sform first (row G9)."""
    forms = {}
    if header["sform_code"] > 0:
        forms["sform"] = header.get_sform()
    if header["qform_code"] > 0:
        try:
            forms["qform"] = header.get_qform()
        except (HeaderDataError, ValueError) as error:
            fix = "set its code to 0 or export the file again"
            raise Refusal(Finding(name, "G12", f"unusable qform ({error})", fix)) from error
    if not forms:
        if orientation is None:
            fix = "set one of them (for check, --orientation RAS will give the orientation; for a "
            fix += "bundle, reading: {orientation: RAS})"
            raise Refusal(Finding(name, "G9", "neither a qform nor an sform", fix))
        forms["sform"] = _told(orientation, shape, header["pixdim"][1:4])
    return forms


def _told(orientation: str, shape: tuple[int, ...], sizes: NDArray[Any]) -> NDArray[Any]:
    """The affine for given axis codes, with the world's origin at the volume's centre."""
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (world, sign) in enumerate(axcodes2ornt(orientation).astype(int)):
        affine[world, axis] = sign * sizes[axis]
        affine[world, 3] = -sign * sizes[axis] * (shape[axis] - 1) / 2
    return affine


def _require_sound(name: str, affine: NDArray[Any]) -> None:
    """Refuse an affine that is not a rotation times voxel sizes (rows G11 to G13)."""
    fix = "export the file again"
    if not np.isfinite(affine).all():
        raise Refusal(Finding(name, "G12", "its affine holds NaN or Inf", fix))
    sizes = nib.affines.voxel_sizes(affine)
    if not np.all(sizes > 0) or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        raise Refusal(Finding(name, "G11", "its affine is singular", fix))
    axes = affine[:3, :3] / sizes
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > SHEAR_TOLERANCE:
        what = f"its affine has shear: the cosine between two axes is {shear:.3g}"
        raise Refusal(Finding(name, "G13", what, "resample it onto a grid with right angles"))


def _require_length(name: str, header: Any, affine: NDArray[Any]) -> None:
    """Refuse voxels of a size that no scanner makes: the unit of length is wrong (row G19)."""
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() >= VOXEL_MM[0] and sizes.max() <= VOXEL_MM[1]:
        return
    code = int(header["xyzt_units"]) & 7
    measured = " x ".join(f"{size:.4g}" for size in sizes)
    unit = UNITS.get(code, "unknown and taken for mm")
    what = f"voxels of {measured} mm: its unit of length, {unit}, cannot be right"
    fix = "set the unit (xyzt_units) in which the header's sizes are, and write it again"
    raise Refusal(Finding(name, "G19", what, fix))


def _set_form(header: Any, form: str, affine: NDArray[Any]) -> None:
    """Store an affine, keeping the form's code, even one that NiBabel does not know."""
    code = int(header[f"{form}_code"])
    (header.set_sform if form == "sform" else header.set_qform)(affine, 1)
    header[f"{form}_code"] = code


def _corner_gap(shape: tuple[int, ...], a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest distance in mm between the positions of a corner voxel under two affines."""
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(corners @ (a - b).T[:, :3], axis=1).max())
