"""One form of every scan: neither its unit, its offset nor its header's origin changes the map.

niimath's fit moves by up to 0.9 mm when the same values are multiplied, shifted or z-scored, and
it does not reach a head that lies more than 128 mm from the world's origin.
"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.volume import Array, Float32, Volume

COARSE_MM = 4.0
MARGIN_MM = 24.0  # kept around what is brighter than Otsu's threshold: bias darkens parts of a head
FULL_SCALE = 1000  # what the head's brightest tissue becomes; whole numbers
BRIGHTEST = 1.2  # of it: fat and vessels beyond are clipped


@dataclass(frozen=True)
class Canonical:
    """A scan in canonical form.

    Attributes:
        volume: air 0, brightest tissue 1000, whole numbers; the world's origin is the head's
            centre.
        centre: of the head in the scan's own world, mm.
        air: the scan's value of air.
        unit: the scan's value of the brightest tissue, counted from air.
    """

    volume: Volume
    centre: Array
    air: float
    unit: float

    def to_scan(self, matrix: Array) -> Array:
        """A map (4, 4) onto this volume's world as one onto the scan's own world."""
        return np.asarray(nib.affines.from_matvec(np.eye(3), self.centre) @ matrix)

    def from_scan(self, matrix: Array) -> Array:
        """A map (4, 4) onto the scan's own world as one onto this volume's world."""
        return np.asarray(nib.affines.from_matvec(np.eye(3), -self.centre) @ matrix)


def canonical(scan: Volume) -> Canonical | None:
    """Bring a scan into canonical form; None if no head stands out of its surroundings.

    Args:
        scan: axes run about right, anterior, superior; values in any unit.
    """
    steps = _steps(scan, COARSE_MM)
    coarse = scan.voxels[:: steps[0], :: steps[1], :: steps[2]]
    low, high = np.percentile(coarse, [0.5, 99.5])
    if low == high:
        return None
    affine = scan.affine @ np.diag([*steps, 1])
    head = _largest(ndimage.binary_opening(coarse > _otsu(coarse.clip(low, high))))
    if not head.any():
        return None
    outside = coarse[~ndimage.binary_dilation(head)]
    air = float(np.median(outside)) if outside.size else float(coarse.min())
    unit = float(np.percentile(coarse[head], 99.5)) - air
    centre = nib.affines.apply_affine(affine, np.argwhere(head).mean(axis=0))
    volume = _around(scan, ndimage.find_objects(head.astype(np.int8))[0], steps)
    values = np.clip((volume.voxels - air) / unit, 0, BRIGHTEST) * FULL_SCALE
    moved = volume.affine.copy()
    moved[:3, 3] -= centre
    return Canonical(Volume(np.rint(values).astype(np.float32), moved), centre, air, unit)


def _steps(scan: Volume, size: float) -> NDArray[np.int_]:
    """Every how manieth voxel gives voxels of about ``size`` mm."""
    return np.maximum(np.rint(size / nib.affines.voxel_sizes(scan.affine)).astype(int), 1)


def _around(scan: Volume, box: tuple[slice, ...], steps: NDArray[np.int_]) -> Volume:
    """The part of a scan that holds the box, given in coarse voxels, and air around it."""
    margins = _steps(scan, MARGIN_MM)
    starts = [
        max(side.start * int(step) - int(margin), 0)
        for side, step, margin in zip(box, steps, margins, strict=True)
    ]
    stops = [
        side.stop * int(step) + int(margin)
        for side, step, margin in zip(box, steps, margins, strict=True)
    ]
    part = scan.voxels[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))]
    return Volume(part, scan.affine @ nib.affines.from_matvec(np.eye(3), starts))


def _otsu(voxels: Float32, bins: int = 256) -> float:
    """The threshold between air and head that separates their values best (Otsu 1979)."""
    counts, edges = np.histogram(voxels, bins)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * middles)
    gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(middles[np.argmax(below * above * gap**2)])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax()) & mask
