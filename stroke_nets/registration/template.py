"""The healthy brain that every simulated patient starts from."""

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.errors import UsageError

TEMPLATE = "ICBM 152 nonlinear symmetric 2009a T1w, 1 mm, brain only, as shipped with nilearn"

Array = NDArray[np.float64]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Template:
    """The healthy brain that every patient starts from; arrays are cropped to ``box``."""

    affine: Array  # (4, 4), voxel to mm
    shape: tuple[int, int, int]  # (X, Y, Z)
    box: Box  # the brain and a margin for the deformation
    t1: Array  # in [0, 1]; 0 outside the brain
    tissue: Array  # share of grey and white matter around a voxel: low in ventricles, not in sulci
    midline: float  # voxel along x, counted from the box
    csf: float  # T1w intensity of cerebrospinal fluid
    grey: float  # T1w intensity of grey matter


@functools.cache
def template() -> Template:
    """The template that ships inside nilearn; read once per process."""
    brain, affine = nilearn_map("t1")
    t1, grey = brain.astype(np.float64), nilearn_map("gm")[0].astype(np.float64)
    tissue = grey + nilearn_map("wm")[0]
    box = box_around(ndimage.find_objects((t1 > 0).astype(np.int8))[0], margin=16, shape=t1.shape)
    return Template(
        affine=affine,
        shape=t1.shape,
        box=box,
        t1=t1[box],
        tissue=ndimage.gaussian_filter(tissue[box], 2.0),
        midline=-affine[0, 3] - box[0].start,
        csf=float(np.median(t1[(t1 > 0.2) & (tissue < 0.1)])),
        grey=float(np.median(t1[grey > 0.9])),
    )


def nilearn_map(name: str) -> tuple[NDArray[np.float32], Array]:
    """One of the maps that ``nilearn.datasets.load_mni152_*template`` gives, and its affine.

    Read from nilearn's own files: importing its data sets takes 3 s of processor time.

    Args:
        name: ``t1``, ``gm`` or ``wm``.

    Raises:
        UsageError: nilearn is missing.
    """
    package = importlib.util.find_spec("nilearn")
    origin = package.origin if package else None
    if origin is None:
        raise UsageError("nilearn is not installed; run: pip install nilearn")
    file = f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    image: Any = nib.load(Path(origin).parent / "datasets" / "data" / file)
    voxels = np.asarray(image.dataobj).astype(np.float32)
    return voxels / voxels.max(), image.affine


def box_around(box: Box, margin: int, shape: Iterable[int]) -> Box:
    """``box`` grown by ``margin`` voxels on each side, within ``shape``."""
    x, y, z = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, shape, strict=True)
    )
    return x, y, z


def uncrop(part: NDArray[Any], box: Box) -> NDArray[Any]:
    """What fills ``box``, put back into the template's whole grid; 0 around it."""
    whole = np.zeros(template().shape, part.dtype)
    whole[box] = part
    return whole
