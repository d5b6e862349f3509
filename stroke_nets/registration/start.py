"""Where to start: an exhaustive search for the head's pose at low resolution.

Registration by gradients finds the nearest optimum, and a head may lie anywhere. Over turns and
sizes on a grid, all shifts at once (by Fourier transforms), this takes the pose in which the
template's brain correlates best with what is there.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from stroke_nets.registration.volume import Array, Volume, dilated

STEP_MM = 8
PITCH, ROLL, YAW = (-30, -15, 0, 15, 30), (-20, 0, 20), (-20, 0, 20)  # degrees
SCALES = (0.88, 1.0, 1.14)


@dataclass(frozen=True)
class Pose:
    """A candidate and how well it fits."""

    matrix: Array  # (4, 4), template's mm to scan's mm
    correlation: float


@dataclass(frozen=True)
class _Pattern:
    """What is searched for: the template's brain and a margin around it, as spectra."""

    origin: Array  # mm of its first voxel
    sizes: tuple[int, int, int]
    side: int  # of the cube of voxels that is searched
    spectra: list[Array]  # conjugate, of the mask and of the masked deviation from the mean
    norm: float  # of that deviation
    count: int  # voxels of the mask


def find_poses(brain: Volume, scan: Volume) -> list[Pose]:
    """The best pose at each size.

    All of them, because correlation may prefer the skull to the brain within.

    Args:
        brain: the template at 1 mm, 0 outside of the brain.
        scan: T1w scan.
    """
    coarse = scan.thinned(0.5 * STEP_MM)
    reach = float(np.max(coarse.voxels.shape * np.linalg.norm(coarse.affine[:3, :3], axis=0)))
    pattern = _pattern(brain, reach)
    best: dict[float, Pose] = {}
    for pitch, roll, yaw, scale in itertools.product(PITCH, ROLL, YAW, SCALES):
        turn = Rotation.from_euler("xyz", (pitch, roll, yaw), degrees=True).as_matrix()
        pose = _best_shift(pattern, coarse, scale * turn)
        if scale not in best or pose.correlation > best[scale].correlation:
            best[scale] = pose
    return list(best.values())


def _pattern(brain: Volume, reach: float) -> _Pattern:
    low = brain.thinned(STEP_MM)
    mask = dilated(low, margin=STEP_MM)
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    mask, voxels = mask[box], low.voxels[box]
    deviation = np.where(mask, voxels - voxels[mask].mean(), 0)
    side = int(fft.next_fast_len(round(reach / STEP_MM) + max(mask.shape) // 2))
    spectra = [fft.rfftn(part, [side] * 3).conj() for part in (mask.astype(float), deviation)]
    first = [float(part.start) for part in box]
    return _Pattern(
        origin=low.affine[:3, :3] @ first + low.affine[:3, 3],
        sizes=mask.shape,
        side=side,
        spectra=spectra,
        norm=float(np.sqrt((deviation**2).sum())),
        count=int(mask.sum()),
    )


def _best_shift(pattern: _Pattern, scan: Volume, turn: Array) -> Pose:
    """The best of all shifts for one turn and size: correlation within the mask."""
    centre = scan.affine @ [*(np.array(scan.voxels.shape) - 1) / 2, 1]
    first = centre[:3] - turn @ np.full(3, STEP_MM * (pattern.side - 1) / 2)
    grid = np.indices([pattern.side] * 3, dtype=np.float32) * STEP_MM
    points = np.tensordot(turn, grid, 1) + first[:, None, None, None]
    seen = scan.sample(points)
    spectrum, squares = fft.rfftn(seen), fft.rfftn(seen**2)
    mask, deviation = pattern.spectra
    total, product, square = (
        fft.irfftn(found, [pattern.side] * 3)
        for found in (spectrum * mask, spectrum * deviation, squares * mask)
    )
    spread = np.sqrt(np.maximum(square - total**2 / pattern.count, 1e-6 * square.max()))
    correlation = product / (spread * pattern.norm)
    fits = tuple(slice(0, pattern.side - size + 1) for size in pattern.sizes)
    correlation = correlation[fits]
    at = np.unravel_index(correlation.argmax(), correlation.shape)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = first + turn @ (STEP_MM * np.array(at) - pattern.origin)
    return Pose(matrix, float(correlation.max()))
