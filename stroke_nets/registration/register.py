"""Registration of one scan: niimath, and again from other poses where the result is doubtful."""

from dataclasses import dataclass

import numpy as np

from stroke_nets.registration.allineate import allineate
from stroke_nets.registration.canonical import canonical
from stroke_nets.registration.pose import find_poses
from stroke_nets.registration.quality import Quality, measure
from stroke_nets.registration.volume import Array, Volume, brain
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.geometry import Grid, compare_grids

POSES = 3  # tried where the scan's own header leads to a doubtful result


@dataclass(frozen=True)
class Registration:
    """Where a scan lies on the template.

    Attributes:
        matrix: template's mm to scan's mm, (4, 4).
        quality: what was measured of it; None if the scan holds no head.
        air: the scan's value of air.
        unit: the scan's value of the brightest tissue, counted from air.
        contrast: that the scan was said to have.
    """

    matrix: Array
    quality: Quality | None = None
    air: float = 0.0
    unit: float = 1.0
    contrast: str = T1W

    def problems(self) -> list[str]:
        """Why this registration must not be used, in words; empty if it may be."""
        if self.quality is None:
            return ["no head is seen"]
        return self.quality.problems(self.contrast)

    def warnings(self) -> list[str]:
        """What is odd about the scan on the template, in words."""
        return [] if self.quality is None else self.quality.warnings(self.contrast)

    def scaled(self, scan: Volume) -> Volume:
        """The scan with values 0 in air and 1 in the brightest tissue."""
        return Volume((scan.voxels - np.float32(self.air)) / np.float32(self.unit), scan.affine)


def register(scan: Volume, in_place: bool = False, contrast: str = T1W) -> Registration:
    """Fit a scan to the template; one that lies on the template's grid stays where it is.

    Args:
        scan: with or without its skull, in any unit; axes run about right, anterior, superior.
        in_place: the scan lies on the template already, on whatever grid; it is only measured.
        contrast: of the scan: ``T1w`` or ``diffusion`` (DWI).
    """
    template = brain()
    form = canonical(scan.thinned(1.0))
    if form is None:
        return Registration(np.eye(4))
    if in_place or compare_grids("", _grid(template), _grid(scan)) is None:
        quality = measure(form.volume, form.from_scan(np.eye(4)))
        return Registration(np.eye(4), quality, form.air, form.unit, contrast)
    matrix, quality = _fit(form.volume, contrast)
    return Registration(form.to_scan(matrix), quality, form.air, form.unit, contrast)


def _fit(scan: Volume, contrast: str) -> tuple[Array, Quality]:
    """The best map onto a canonical scan, and its quality."""
    best = _attempt(scan, np.eye(4))
    for pose in find_poses(scan, POSES) if best[1].doubtful(contrast) else []:
        best = max(best, _attempt(scan, pose), key=lambda attempt: attempt[1].score())
        if not best[1].doubtful(contrast):
            break
    return best


def _attempt(scan: Volume, pose: Array) -> tuple[Array, Quality]:
    """One registration of a scan that is first brought from its pose to the template's."""
    matrix = pose @ allineate(Volume(scan.voxels, np.linalg.inv(pose) @ scan.affine))
    return matrix, measure(scan, matrix)


def _grid(volume: Volume) -> Grid:
    return Grid(volume.voxels.shape, volume.affine)
