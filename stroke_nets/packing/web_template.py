"""What a page has to know of the template, as small NIfTI files; docs/web.md names them."""

from pathlib import Path

import nibabel as nib
import numpy as np

from stroke_nets.registration.allineate import FINEST_MM
from stroke_nets.registration.pose import STEP_MM, searched
from stroke_nets.registration.quality import FINE_MM, regions
from stroke_nets.registration.volume import Array, brain
from stroke_nets.transforms.brain_box import AFFINE, brain_mask
from stroke_nets.transforms.brain_cut import nearness


def write_template(folder: Path) -> None:
    """Write the template's files.

    Args:
        folder: to be made.
    """
    folder.mkdir()
    coarse, parts, near = brain(FINEST_MM), regions(), nearness()
    fine = parts.template.affine
    flags = [parts.around, parts.inner, *parts.halves, parts.white, parts.grey]
    flags += [parts.template.voxels > 0.05, parts.scalp]
    packed = sum(flag.astype(np.uint8) << bit for bit, flag in enumerate(flags))
    _write(folder / "brain_2mm.nii.gz", (1000 * coarse.voxels).astype(np.int16), coarse.affine)
    _write(folder / f"brain_{FINE_MM}mm.nii.gz", parts.template.voxels, fine)
    _write(folder / f"smooth_{FINE_MM}mm.nii.gz", parts.smooth, fine)
    _write(folder / f"parts_{FINE_MM}mm.nii.gz", np.asarray(packed, np.uint8), fine)
    _write(folder / "nearness_2mm.nii.gz", near.voxels, near.affine)
    low, mask = searched()
    _write(folder / f"pose_{STEP_MM}mm.nii.gz", np.where(mask, low.voxels, -1), low.affine)
    _write(folder / "box_2mm.nii.gz", brain_mask().numpy().astype(np.uint8), AFFINE)


def _write(path: Path, voxels: np.ndarray, affine: Array) -> None:
    nib.save(nib.Nifti1Image(voxels, affine), path)
