"""How much of each region of an atlas a mask takes; the user gives the atlas, none is shipped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stroke_nets.errors import DataError
from stroke_nets.registration.volume import Array, resampled
from stroke_nets.scans.reader import open_scan


@dataclass(frozen=True)
class Atlas:
    """Regions in MNI space, on some grid.

    Attributes:
        regions: index of a voxel's region, (X, Y, Z); 0 is no region.
        voxel_ml: volume of a voxel.
        names: of the regions, by index.
    """

    regions: NDArray[np.int32]
    voxel_ml: float
    names: dict[int, str]

    @classmethod
    def read(cls, image: Path, labels: Path, shape: tuple[int, ...], affine: Array) -> "Atlas":
        """Read an atlas and resample it to a grid, by nearest neighbour.

        Args:
            image: whole numbers in MNI space.
            labels: table with the columns ``index`` and ``name``, as BIDS's ``_dseg.tsv``; commas
                separate the columns of a ``.csv``.
            shape: of the grid.
            affine: of the grid, voxel to mm.

        Raises:
            DataError: a file cannot be read, holds no whole numbers, or lacks a column.
        """
        atlas = nib.as_closest_canonical(open_scan(image))
        voxels = np.asanyarray(atlas.dataobj)
        if voxels.ndim != 3 or not np.array_equal(voxels, np.rint(voxels)):
            raise DataError(f"{image}: no 3D volume of whole numbers; give an atlas of regions")
        there = np.linalg.inv(atlas.affine) @ affine
        regions = resampled(voxels.astype(np.float32), there, shape, order=0).astype(np.int32)
        voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        return cls(regions, voxel_ml, _names(labels))

    def overlap(self, mask: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        """The regions that a mask touches, the most lesion first.

        Args:
            mask: on the atlas's grid.

        Yields:
            ``region``, ``lesion_ml``, ``share_of_region`` and ``share_of_lesion``.
        """
        sizes = np.bincount(self.regions.ravel())
        hit = np.bincount(self.regions[mask], minlength=len(sizes))
        for index in np.argsort(-hit, kind="stable"):
            if index and hit[index]:
                yield {
                    "region": self.names.get(int(index), str(index)),
                    "lesion_ml": round(float(hit[index]) * self.voxel_ml, 4),
                    "share_of_region": round(float(hit[index] / sizes[index]), 4),
                    "share_of_lesion": round(float(hit[index] / hit.sum()), 4),
                }


def _names(labels: Path) -> dict[int, str]:
    try:
        table = pd.read_csv(labels, sep="," if labels.suffix == ".csv" else "\t")
        return dict(zip(table["index"].astype(int), table["name"].astype(str), strict=True))
    except (OSError, ValueError, LookupError) as error:
        raise DataError(
            f"{labels}: cannot be read ({error}); give a table with the columns index and name"
        ) from error
