"""Plain patients: the template's own voxels, deformed, with dark lesions; quick to learn."""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.template import Array, template, uncrop
from stroke_nets.synthesis.fields import deformation, smooth_field
from stroke_nets.synthesis.lesions import draw_volumes, lesion_weight


def add_lesions(
    rng: np.random.Generator, t1: Array, tissue: Array, left: NDArray[np.bool_], volumes: list[int]
) -> NDArray[np.uint8]:
    """Paint lesions into a brain, each within one hemisphere.

    Args:
        rng: random generator.
        t1: intensities, modified in place.
        tissue: fraction of grey and white matter around each voxel.
        left: which voxels belong to the left hemisphere.
        volumes: of the lesions, in voxels.

    Returns:
        Mask of the lesions, 0 or 1.
    """
    mask = np.zeros(t1.shape, np.uint8)
    free = (tissue > 0.5) & (t1 > 0.2)
    for voxels in volumes:
        side = left if rng.random() < 0.5 else ~left
        box, weight = lesion_weight(rng, voxels, free & side & (mask == 0))
        darkness = rng.uniform(template().csf, 0.6 * template().grey)
        scar = 0.2 * (t1[box] - template().grey)  # a trace of the original tissue
        core = darkness + scar + 0.03 * smooth_field(rng, weight.shape, 6)
        t1[box] += weight * (core - t1[box])
        mask[box] |= weight > 0.5
    return mask


def plain_patient(seed: int, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Simulate one plain patient; the affine of both volumes is ``template().affine``.

    Args:
        seed: seed of the data set, not negative.
        index: number of the patient, not negative.

    Returns:
        T1w image (X, Y, Z), positive in the brain and 0 outside, and lesion mask (X, Y, Z).
    """
    rng = np.random.default_rng([seed, index])
    volumes = draw_volumes(rng)
    healthy = template()
    source = deformation(rng, healthy.t1.shape)
    bend = functools.partial(ndimage.map_coordinates, coordinates=source, order=1)
    t1, tissue = bend(healthy.t1), bend(healthy.tissue)
    brain = t1 > 0.2
    mask = add_lesions(rng, t1, tissue, source[0] < healthy.midline, volumes)
    t1 *= np.exp(rng.uniform(0.02, 0.12) * smooth_field(rng, t1.shape, 70))  # bias field
    t1 += rng.uniform(0.01, 0.03) * rng.standard_normal(t1.shape)  # scanner noise
    scaled = np.where(brain, np.maximum(np.rint(rng.uniform(400, 1000) * t1), 1), 0)
    return uncrop(scaled.astype(np.int16), healthy.box), uncrop(mask, healthy.box)
