"""Where a scan lies on the template, as the preprocessing left it in the image's metadata."""

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from monai.data import MetaTensor

from stroke_nets.registration.volume import Array, Float32, Volume, brain, placed, resampled
from stroke_nets.scans.geometry import Grid

META = "registration"  # the key of an image's metadata


@dataclass(frozen=True)
class OnTemplate:
    """Where a scan lies.

    Attributes:
        matrix: template's mm to scan's mm, (4, 4).
        quality: how well the two fit: names and numbers.
        warnings: what is doubtful about it.
    """

    matrix: Array
    quality: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, image: MetaTensor) -> "OnTemplate | None":
        """What `RegisterToTemplated` found of an image; None if the scan was taken as it is."""
        found = image.meta.get(META)
        if found is None or np.array_equal(found["matrix"], np.eye(4)):
            return None
        warnings = found["warnings"].splitlines()
        return cls(np.asarray(found["matrix"], float), found["quality"], warnings)

    def to_template(self, points: Array) -> Array:
        """Places of the scan, (3, N) in mm, in the template's world."""
        return nib.affines.apply_affine(np.linalg.inv(self.matrix), points.T).T

    def carry(self, voxels: Float32, affine: Array) -> Float32:
        """A volume of the scan's space on the template's grid, (X, Y, Z), trilinear."""
        return resampled(voxels, self._there(affine), template_grid().shape)

    def place(self, scan: Volume) -> Float32:
        """The scan, 0 in air and 1 in the brightest tissue, on the template's grid, (X, Y, Z)."""
        return placed(scan.voxels, self._there(scan.affine), template_grid().shape)

    def _there(self, affine: Array) -> Array:
        """Takes the template's voxels to those of a volume in the scan's space."""
        return np.asarray(np.linalg.inv(affine) @ self.matrix @ template_grid().affine)


def template_grid() -> Grid:
    """The grid of ATLAS v2.0."""
    template = brain()
    return Grid(template.voxels.shape, template.affine)
