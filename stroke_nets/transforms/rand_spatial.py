"""nnU-Net's elastic deformation, rotation and scale, each by its own chance, in one resampling."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import CenterSpatialCrop, MapTransform, Randomizable, Resample
from monai.transforms.utils import create_grid, create_rotate, create_scale
from scipy.ndimage import gaussian_filter


class RandSpatiald(Randomizable, MapTransform):
    """Bend, turn and scale a window and cut the patch out of its middle.

    MONAI's `RandAffined` and `Rand3DElasticd` draw everything under one probability and scale all
    axes apart; chained, they would interpolate twice. Without any deformation the patch is cut
    out and not interpolated.

    Args:
        keys: volumes C x D x H x W of one shape, deformed alike; none is interpolated across
            channels, so labels come one-hot.
        patch_size: D, H, W.
        mode: interpolation for each key: a spline order, or ``bilinear``.
        elastic_prob: chance of a smooth random displacement. Its smoothness is drawn up to a
            quarter of the patch and its size from 1/8 to 1/2 of that, as in nnU-Net.
        rotation_prob: chance of a rotation by up to 30 degrees about each axis.
        scale_prob: chance of a scale.
        scale_range: its bounds; below and above 1 are drawn equally often.
        axis_scale_prob: chance that a scale differs from axis to axis.
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
        self.resample = Resample()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw one deformation and apply it to every key."""
        result = dict(data)
        grid = self._draw_grid()
        for key, mode in zip(self.keys, self.mode, strict=True):
            result[key] = self._take(result[key], grid, mode)
        return result

    def _take(self, volume: Any, grid: torch.Tensor | None, mode: int | str) -> Any:
        if grid is None:
            return self.cut(volume)
        outside = "constant" if isinstance(mode, int) else "zeros"
        return self.resample(volume, grid, mode=mode, padding_mode=outside)

    def _draw_grid(self) -> torch.Tensor | None:
        """Where the patch's voxels lie in the window, from its centre: 4 x D x H x W, or None."""
        grid = np.asarray(create_grid(self.patch_size, backend="numpy"))
        matrix, changed = np.eye(4), False
        if self.R.random() < self.elastic_prob:
            grid[:3] += self._draw_displacement()
            changed = True
        if self.R.random() < self.rotation_prob:
            angles = self.R.uniform(-np.pi / 6, np.pi / 6, 3)
            matrix, changed = np.asarray(create_rotate(3, list(angles))) @ matrix, True
        if self.R.random() < self.scale_prob:
            apart = self.R.random() < self.axis_scale_prob
            factors = [self._draw_scale() for _ in range(3)] if apart else [self._draw_scale()] * 3
            matrix, changed = np.asarray(create_scale(3, factors)) @ matrix, True
        return torch.as_tensor(np.tensordot(matrix, grid, 1)) if changed else None

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
