"""Size, location and shape of lesions."""

import math

import numpy as np
from numpy.typing import NDArray

from stroke_nets.registration.template import Array, Box, box_around
from stroke_nets.synthesis.fields import smooth_field

VOXELS_PER_ML = 1000  # of the 1 mm grid
MEDIAN_ML, SPREAD, LARGEST_ML = 10.0, 1.3, 200.0  # log-normal total volume of a patient's lesions
SMALLEST = 13  # voxels: the smallest lesion of ATLAS v2.0 (Liew et al. 2022)
LESION_COUNTS = (0.15, 0.60, 0.15, 0.06, 0.04)  # probability of 0, 1, 2, 3, 4 lesions


def draw_volumes(rng: np.random.Generator) -> list[int]:
    """Volumes of one patient's lesions in voxels: a total, split at random; may be empty."""
    count = int(rng.choice(len(LESION_COUNTS), p=LESION_COUNTS))
    total = rng.lognormal(np.log(MEDIAN_ML), SPREAD)
    voxels = np.clip(total * VOXELS_PER_ML, SMALLEST, LARGEST_ML * VOXELS_PER_ML)
    if count == 0:
        return []
    shares = rng.dirichlet(np.ones(count))
    return [max(SMALLEST, int(share * voxels)) for share in shares]


def lesion_distance(rng: np.random.Generator, centre: Array, radius: float, box: Box) -> Array:
    """Distance from the centre of a lesion in mm, distorted so that no level set is round.

    Args:
        rng: random generator.
        centre: voxel, (3,).
        radius: radius of a ball with the volume of the lesion, in mm.
        box: the voxels to compute.

    Returns:
        Distances with the shape of ``box``.
    """
    stretch = np.exp(rng.normal(0, 0.25, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3))).Q
    axes = [np.arange(side.start, side.stop) - c for side, c in zip(box, centre, strict=True)]
    x, y, z = np.ix_(*axes)
    rows = turn / (stretch / stretch.prod() ** (1 / 3))[:, None]
    distance = np.sqrt(sum((a * x + b * y + c * z) ** 2 for a, b, c in rows))
    for spacing, depth in ((0.8, 0.28), (0.35, 0.10)):  # lobes, then ragged edges, in radii
        distance += depth * radius * smooth_field(rng, distance.shape, max(3, spacing * radius))
    return distance


def lesion_weight(
    rng: np.random.Generator,
    voxels: int,
    allowed: NDArray[np.bool_],
    home: NDArray[np.bool_] | None = None,
) -> tuple[Box, Array]:
    """One lesion: the fraction of each voxel that it has destroyed.

    Args:
        rng: random generator, for location, shape and softness of the border.
        voxels: number of weights above one half.
        allowed: where the lesion may be, (X, Y, Z).
        home: territory in which the lesion starts; it grows beyond only if it is too large.

    Returns:
        The box that contains the lesion, and the weights in it, in [0, 1].
    """
    start = allowed if home is None or not (allowed & home).any() else allowed & home
    place = rng.choice(np.flatnonzero(start))
    centre = np.array(np.unravel_index(place, allowed.shape))
    radius = math.cbrt(3 * voxels / (4 * math.pi))
    x, y, z = (slice(c, c + 1) for c in centre.tolist())
    box = box_around((x, y, z), margin=round(2.2 * radius) + 10, shape=allowed.shape)
    distance = lesion_distance(rng, centre, radius, box)
    if home is not None:
        distance[~home[box]] += 0.6 * radius
    distance[~allowed[box]] = np.inf
    voxels = min(voxels, np.isfinite(distance).sum() - 1)
    level = np.partition(distance, [voxels - 1, voxels], axis=None)[voxels - 1 : voxels + 1].mean()
    width = rng.uniform(1.0, 2.5)  # mm from untouched to destroyed
    return box, np.clip(0.5 + (level - distance) / width, 0, 1)
