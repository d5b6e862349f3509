"""The healthy brain that every simulated patient starts from."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
    from nilearn import datasets  # here, because it takes seconds and a command may not need it

    image = datasets.load_mni152_template(resolution=1)
    t1 = np.asarray(image.dataobj, dtype=np.float64)
    grey = datasets.load_mni152_gm_template(resolution=1).get_fdata()
    tissue = grey + datasets.load_mni152_wm_template(resolution=1).get_fdata()
    box = box_around(ndimage.find_objects((t1 > 0).astype(np.int8))[0], margin=16, shape=t1.shape)
    return Template(
        affine=image.affine,
        shape=t1.shape,
        box=box,
        t1=t1[box],
        tissue=ndimage.gaussian_filter(tissue[box], 2.0),
        midline=-image.affine[0, 3] - box[0].start,
        csf=float(np.median(t1[(t1 > 0.2) & (tissue < 0.1)])),
        grey=float(np.median(t1[grey > 0.9])),
    )


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
