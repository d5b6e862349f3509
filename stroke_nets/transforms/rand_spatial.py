"""nnU-Net's random elastic deformation, rotation and scaling, in a single resampling."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, MapTransform, Randomizable
from monai.transforms.utils import create_rotate
from scipy.ndimage import gaussian_filter

from stroke_nets.transforms.spline import Places, at, classes_at

ALONG = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))  # shapes of D, H and W that broadcast


class RandSpatiald(Randomizable, MapTransform):
    """Deform, rotate and scale a window and crop the patch from its centre.

    MONAI's `RandAffined` and `Rand3DElasticd` use one probability for everything and scale each
    axis separately; chained, they would interpolate twice. Without any deformation the patch is
    cropped without interpolation. It runs on the volumes' device, CPU or GPU.

    Args:
        keys: volumes C x D x H x W of one shape, deformed identically.
        patch_size: D, H, W.
        mode: interpolation for each key: 3, cubic splines; ``bilinear``; or ``classes``, for a
            label 1 x D x H x W: the class with the largest linear weight, the lowest in a tie.
        elastic_prob: probability of a smooth random displacement. Its smoothness is up to a
            quarter of the patch and its magnitude 1/8 to 1/2 of that, as in nnU-Net.
        rotation_prob: probability of a rotation by up to 30 degrees about each axis.
        scale_prob: probability of scaling.
        scale_range: its bounds; factors below and above 1 are equally likely.
        axis_scale_prob: probability that each axis has its own factor.
    """

    def __init__(
        self,
        keys: KeysCollection,
        patch_size: Sequence[int],
        mode: Sequence[int | str],
        *,
        elastic_prob: float = 0.0,
        rotation_prob: float = 0.2,
        scale_prob: float = 0.2,
        scale_range: tuple[float, float] = (0.7, 1.4),
        axis_scale_prob: float = 0.0,
    ) -> None:
        """Take the probabilities and ranges."""
        super().__init__(keys)
        self.patch_size, self.mode = tuple(patch_size), tuple(mode)
        self.elastic_prob, self.rotation_prob = elastic_prob, rotation_prob
        self.scale_prob, self.scale_range = scale_prob, scale_range
        self.axis_scale_prob = axis_scale_prob
        self.cut = CenterSpatialCrop(self.patch_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw one deformation and apply it to every key."""
        result = dict(data)
        displacement, matrix = self._draw()
        for key, mode in zip(self.keys, self.mode, strict=True):
            result[key] = self._patch(result[key], displacement, matrix, mode)
        return result

    def _patch(
        self,
        volume: Any,
        displacement: np.ndarray | None,
        matrix: np.ndarray | None,
        mode: int | str,
    ) -> Any:
        if displacement is None and matrix is None:
            return self.cut(volume)
        scan = volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume)
        places = self._places(scan, displacement, matrix)
        if mode == "classes":
            return classes_at(scan, places)
        return at(scan.float(), places, cubic=mode == 3)

    def _draw(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The displacement of the patch's voxels and the matrix applied after it, each or None."""
        displacement, matrix = None, None
        if self.R.random() < self.elastic_prob:
            displacement = self._draw_displacement()
        if self.R.random() < self.rotation_prob:
            angles = self.R.uniform(-np.pi / 6, np.pi / 6, 3)
            matrix = np.asarray(create_rotate(3, list(angles)))[:3, :3]
        if self.R.random() < self.scale_prob:
            apart = self.R.random() < self.axis_scale_prob
            factors = [self._draw_scale() for _ in range(3)] if apart else [self._draw_scale()] * 3
            matrix = np.diag(factors) @ (np.eye(3) if matrix is None else matrix)
        return displacement, matrix

    def _places(
        self, scan: torch.Tensor, displacement: np.ndarray | None, matrix: np.ndarray | None
    ) -> Places | torch.Tensor:
        """Coordinates of the patch's voxels in C x D x H x W: per axis, or per voxel."""
        middle = [(side - 1) / 2 for side in scan.shape[1:]]
        axes = [np.arange(side) - (side - 1) / 2 for side in self.patch_size]
        moved = np.eye(3) if matrix is None else matrix
        if displacement is None and np.array_equal(moved, np.diag(np.diag(moved))):
            return [c + f * axis for c, f, axis in zip(middle, np.diag(moved), axes, strict=True)]
        points = [torch.as_tensor(a).to(scan).view(*s) for a, s in zip(axes, ALONG, strict=True)]
        if displacement is not None:
            bent = torch.as_tensor(displacement).to(scan)
            points = [along + shift for along, shift in zip(points, bent, strict=True)]
        mapped = [
            c + float(row[0]) * points[0] + float(row[1]) * points[1] + float(row[2]) * points[2]
            for c, row in zip(middle, moved, strict=True)
        ]
        return torch.stack(mapped)

    def _draw_displacement(self) -> np.ndarray:
        """Smooth noise, 3 x D x H x W, in voxels."""
        share = self.R.uniform(0, 0.25)
        smooth = [share * side for side in self.patch_size]
        fields = []
        for size in smooth:
            noise = gaussian_filter(self.R.uniform(-1, 1, self.patch_size), smooth, mode="wrap")
            fields.append(noise / np.abs(noise).max() * self.R.uniform(size / 8, size / 2))
        return np.stack(fields)

    def _draw_scale(self) -> float:
        low, high = self.scale_range
        below = self.R.random() < 0.5 and low < 1
        return float(self.R.uniform(low, 1) if below else self.R.uniform(max(low, 1), high))
