"""Where a head may lie: an exhaustive search over all turns at low resolution.

niimath tries angles of up to 30 degrees. Where its first result is doubtful, this search takes the
turns in which the template's brain correlates best with what is there, over all shifts at once (by
Fourier transforms), and niimath starts again from those.
"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from stroke_nets.registration.volume import Array, Volume, brain, dilated

STEP_MM = 10
SIZE = 0.92  # of an ordinary brain's sides beside the template's
TURNS = (-30, 0, 30)  # degrees about each axis, from each of a cube's 24 turns
APART = 25.0  # degrees between two poses that are tried


@dataclass(frozen=True)
class _Pattern:
    """What is searched for: the template's brain and a margin around it, as spectra."""

    origin: Array  # mm of its first voxel
    sizes: tuple[int, ...]
    side: int  # of the cube of voxels that is searched
    spectra: list[Array]  # conjugate, of the mask and of the masked deviation from the mean
    norm: float  # of that deviation
    count: int  # voxels of the mask


def find_poses(scan: Volume, count: int) -> list[Array]:
    """The most likely poses of a head, the best first.

    Args:
        scan: in canonical form.
        count: how many, at least 25 degrees apart.

    Returns:
        Maps (4, 4) from the template's mm to the scan's mm.
    """
    coarse = scan.thinned(0.5 * STEP_MM)
    reach = float(np.max(coarse.voxels.shape * nib.affines.voxel_sizes(coarse.affine)))
    pattern = _pattern(reach)
    found = [(*_best_shift(pattern, coarse, turn), turn) for turn in _turns()]
    found.sort(key=lambda pose: pose[0], reverse=True)
    kept: list[tuple[Array, Rotation]] = []
    for _, matrix, turn in found:
        if all(np.degrees((turn * other.inv()).magnitude()) > APART for _, other in kept):
            kept.append((matrix, turn))
    return [matrix for matrix, _ in kept[:count]]


def _turns() -> list[Rotation]:
    """All of the search's turns."""
    angles = np.stack(np.meshgrid(TURNS, TURNS, TURNS), axis=-1).reshape(-1, 3)
    near = Rotation.from_euler("xyz", angles, degrees=True)
    return [turn * square for square in Rotation.create_group("O") for turn in near]


def searched() -> tuple[Volume, NDArray[np.bool_]]:
    """The template's brain at 10 mm, and where it or what is within 10 mm of it lies."""
    low = brain(STEP_MM)
    mask = dilated(low, margin=STEP_MM)
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    first = nib.affines.from_matvec(np.eye(3), [part.start for part in box])
    return Volume(low.voxels[box], low.affine @ first), mask[box]


def _pattern(reach: float) -> _Pattern:
    low, mask = searched()
    voxels = low.voxels
    deviation = np.where(mask, voxels - voxels[mask].mean(), 0)
    longest = max(mask.shape)
    side = int(fft.next_fast_len(max(round(reach / STEP_MM), longest) + longest // 2))
    spectra = [fft.rfftn(part, [side] * 3).conj() for part in (mask.astype(float), deviation)]
    return _Pattern(
        origin=low.affine[:3, 3],
        sizes=mask.shape,
        side=side,
        spectra=spectra,
        norm=float(np.sqrt((deviation**2).sum())),
        count=int(mask.sum()),
    )


def _best_shift(pattern: _Pattern, scan: Volume, turn: Rotation) -> tuple[float, Array]:
    """The best of all shifts for one turn: the correlation within the mask, and the map."""
    linear = SIZE * turn.as_matrix()
    centre = nib.affines.apply_affine(scan.affine, (np.array(scan.voxels.shape) - 1) / 2)
    first = centre - linear @ np.full(3, STEP_MM * (pattern.side - 1) / 2)
    grid = np.indices([pattern.side] * 3, dtype=np.float32) * STEP_MM
    seen = scan.sample(np.tensordot(linear, grid, 1) + first[:, None, None, None])
    spectrum, squares = fft.rfftn(seen), fft.rfftn(seen**2)
    mask, deviation = pattern.spectra
    total, product, square = (
        fft.irfftn(found, [pattern.side] * 3)
        for found in (spectrum * mask, spectrum * deviation, squares * mask)
    )
    spread = np.sqrt(np.maximum(square - total**2 / pattern.count, 1e-6 * square.max()))
    fits = tuple(slice(0, pattern.side - size + 1) for size in pattern.sizes)
    correlation = (product / (spread * pattern.norm))[fits]
    at = np.unravel_index(correlation.argmax(), correlation.shape)
    shift = first + linear @ (STEP_MM * np.array(at) - pattern.origin)
    return float(correlation.max()), nib.affines.from_matvec(linear, shift)
