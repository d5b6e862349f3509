"""nnU-Net's sliding window: its own tile positions, Gaussian weights and eight flips.

MONAI's `SlidingWindowInferer` places the tiles otherwise, centres the Gaussian half a voxel off
and floors it at 1e-3. Source: Isensee et al. 2021, as MSCSA (arXiv:2501.15423) uses it.
"""

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor
from torch.nn.functional import pad

FLIPS = [axes for n in range(4) for axes in itertools.combinations((2, 3, 4), n)]
PLANES = 8  # of a tile that are worked on at once


def untold(done: int, total: int) -> None:
    """Nobody is told how far a sweep is."""


def tile_starts(length: int, patch: int, step: float = 0.5) -> list[int]:
    """First voxels of the tiles along one axis.

    Args:
        length: of the volume in voxels.
        patch: side of a tile in voxels.
        step: longest distance between two tiles, in tiles.

    Returns:
        Starts that are spread evenly, the last tile ending with the volume; [0] if one tile
        covers it.
    """
    if length <= patch:
        return [0]
    last = math.ceil((length - patch) / (patch * step))
    return [round(i * (length - patch) / last) for i in range(last + 1)]


def gaussian_profile(patch: int) -> Tensor:
    """Weights of a tile's voxels along one axis.

    Args:
        patch: side of a tile in voxels.

    Returns:
        A Gaussian with its maximum, 1, at ``patch // 2`` and sigma ``patch / 8``.
    """
    distance = torch.arange(patch, dtype=torch.float64) - patch // 2
    return torch.exp(-0.5 * (distance / (patch / 8)) ** 2).float()


class PatchInferer(Inferer):
    """Mean class probabilities of overlapping tiles.

    A tile of one value, which lies wholly outside the brain, is given to the network once for each
    such value: the others have its probabilities, so that nothing changes but the time.

    ``on_tile`` may be set to a callable that is told after each tile how many are done, of how
    many.

    Args:
        patch_size: D, H, W of a tile in voxels.
        step: longest distance between two tiles, in tiles.
        flips: average over all eight flips of each tile, not the tile alone.
        flips_at_once: flips in a batch of the network; None: 4 on a GPU, 1 on a CPU, which gains
            nothing and has to hold more maps.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        step: float = 0.5,
        flips: bool = True,
        flips_at_once: int | None = None,
    ) -> None:
        """Store the options."""
        super().__init__()
        self.patch_size, self.step = tuple(patch_size), step
        self.flips = FLIPS if flips else [()]
        self.flips_at_once = flips_at_once
        self.profiles = [gaussian_profile(p) for p in self.patch_size]
        self.on_tile = untold

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Sweep the volumes.

        Args:
            inputs: B x 1 x D x H x W; one smaller than a tile is padded with zeros.
            network: maps B x 1 x D x H x W to logits B x C x D x H x W.

        Returns:
            Probabilities, B x C x D x H x W, float32.
        """
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        margins = self._margins(volumes.shape[2:])
        swept = self._sweep(pad(volumes, margins) if any(margins) else volumes, network)
        box = [slice(m, n - k) for m, k, n in zip(*_ends(margins), swept.shape[2:], strict=True)]
        return convert_to_dst_type(swept[:, :, *box], inputs)[0]  # with the scan's affine

    def _margins(self, shape: Sequence[int]) -> list[int]:
        """Zeros before and after each axis, last axis first, as `torch.nn.functional.pad` takes."""
        missing = [max(0, p - n) for p, n in zip(self.patch_size, shape, strict=True)]
        return [side for m in reversed(missing) for side in (m // 2, m - m // 2)]

    def _sweep(self, volumes: Tensor, network: Callable[..., Tensor]) -> Tensor:
        shape = volumes.shape[2:]
        sides = list(zip(shape, self.patch_size, strict=True))
        profiles = [profile.to(volumes.device) for profile in self.profiles]
        starts = [tile_starts(n, p, self.step) for n, p in sides]
        gaussian, empty = _outer(profiles), dict[float, Tensor]()
        total: Tensor | None = None
        tiles = list(itertools.product(*starts))
        for number, first in enumerate(tiles, 1):
            tile: Any = (..., *map(slice, first, map(operator.add, first, self.patch_size)))
            weighted = self._weighted(volumes[tile], network, gaussian, empty)
            if total is None:
                total = weighted.new_zeros(*weighted.shape[:2], *shape)
            total[tile] += weighted
            del weighted  # not to be held beside the next tile's
            self.on_tile(number, len(tiles))
        assert total is not None  # there is at least one tile
        d, h, w = [_spread(p, s, n) for p, s, n in zip(profiles, starts, shape, strict=True)]
        for z, weight in enumerate(d):  # all planes' weights at once would be half a buffer
            total[:, :, z] /= (weight * h)[:, None] * w
        return total

    def _weighted(
        self,
        tile: Tensor,
        network: Callable[..., Tensor],
        gaussian: Tensor,
        empty: dict[float, Tensor],
    ) -> Tensor:
        """Weighted probabilities of one tile, from those of ``empty`` ones if it has one value."""
        low, high = (float(bound) for bound in tile.aminmax())
        if low != high:
            return self._predict(tile, network).mul_(gaussian)
        if low not in empty:
            empty[low] = self._predict(tile, network).mul_(gaussian)
        return empty[low]

    def _predict(self, tile: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Mean probabilities over the flips of one tile."""
        at_once = self.flips_at_once or (4 if tile.is_cuda else 1)
        total: Tensor | None = None
        for i in range(0, len(self.flips), at_once):
            flips = self.flips[i : i + at_once]
            logits = network(torch.cat([tile.flip(axes) for axes in flips]))
            if total is None:
                total = logits.new_zeros(len(tile), *logits.shape[1:], dtype=torch.float32)
            for axes, flipped in zip(flips, logits.split(len(tile)), strict=True):
                _add_probabilities(total, flipped, axes)
        assert total is not None  # there is at least the tile as it is
        return total.div_(len(self.flips))


def _add_probabilities(total: Tensor, logits: Tensor, axes: Sequence[int]) -> None:
    """Turn logits back and add their softmax, some planes at a time: copies of a tile add up."""
    depth = logits.shape[2]
    for first in range(0, depth, PLANES):
        last = min(first + PLANES, depth)
        planes = slice(depth - last, depth - first) if 2 in axes else slice(first, last)
        total[:, :, planes] += logits[:, :, first:last].float().softmax(1).flip(tuple(axes))


def _ends(margins: Sequence[int]) -> tuple[list[int], list[int]]:
    """Margins before and after each axis, first axis first."""
    return list(margins[-2::-2]), list(margins[::-2])


def _outer(profiles: Sequence[Tensor]) -> Tensor:
    """D x H x W product of one profile for each axis."""
    d, h, w = profiles
    return d[:, None, None] * h[:, None] * w


def _spread(profile: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """Sum of the tiles' weights along one axis; the sum over a volume is the axes' product."""
    total = profile.new_zeros(length)
    for start in starts:
        total[start : start + len(profile)] += profile
    return total
