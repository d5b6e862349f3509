"""Random 3D patches of volumes, drawn as nnU-Net draws them.

Source: Isensee et al. 2021 (nnU-Net), the recipe that MSCSA (arXiv:2501.15423) trains with.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose

from stroke_nets.errors import UsageError
from stroke_nets.training.slices import VolumeDataset

WINDOW = (math.cos(math.radians(30)) + math.sin(math.radians(30))) / 0.85
"""Side of the window around a patch, in patches: holds it turned by 30 degrees and zoomed out."""

Volumes = dict[str, np.ndarray]


class PatchDataset(VolumeDataset):
    """Patches of labelled volumes; the last third of a batch is centred on lesion voxels.

    Item ``k`` of an epoch is always the same: its case, place and augmentation come from the seed,
    the epoch and ``k``, whatever the number of workers. It holds ``image`` and ``label``, each
    1 x D x H x W, and ``case``, the scan's name. A case without lesion gives a random patch.

    Args:
        data: dictionaries with ``image`` and ``label`` paths.
        transform: loads and crops a dictionary; deterministic.
        cache_dir: where the volumes are kept, readable by this user only.
        patch_size: D, H, W of a patch in voxels.
        augment: makes a patch from the window around it (`WINDOW` times the patch, centred alike,
            zeros outside the volume).
        batches: batches of one epoch.
        batch_size: patches of one batch.
        seed: of everything that is drawn.

    Raises:
        DataError: files cannot be used; one line for each.
    """

    def __init__(
        self,
        data: Sequence[dict],
        transform: Callable,
        cache_dir: str,
        *,
        patch_size: Sequence[int],
        augment: Callable,
        batches: int,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        """Fill the cache."""
        super().__init__(data, transform, cache_dir)
        self.patch_size = np.asarray(patch_size)
        self.window = np.ceil(self.patch_size * WINDOW).astype(int)
        self.window += (self.window - self.patch_size) % 2  # the patch lies in the middle
        self.augment = Compose([augment])
        self.batches, self.batch_size = batches, batch_size
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw other patches than in the epochs before."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of patches in one epoch."""
        return self.batches * self.batch_size

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        """Patch ``index`` of this epoch."""
        rng = np.random.default_rng([self.seed, self.epoch, index])
        number = int(rng.integers(len(self.volumes)))
        volumes = {k: np.moveaxis(v, 0, -1) for k, v in self.volumes[number].items()}
        start = self._start(rng, volumes["label"], self._wants_lesion(index % self.batch_size))
        self.augment.set_random_state(seed=int(rng.integers(2**32)))
        cut = {k: cut_window(v, start, self.window)[None] for k, v in volumes.items()}
        patch = self.augment({k: v.astype(np.float32) for k, v in cut.items()})
        return patch | {"case": self.names[number]}

    def _wants_lesion(self, place: int) -> bool:
        """nnU-Net's rule for a third of the batch; here the last one in any case."""
        return place >= min(round(self.batch_size * 2 / 3), self.batch_size - 1)

    def _start(self, rng: np.random.Generator, label: np.ndarray, lesion: bool) -> np.ndarray:
        """First voxel of the window; negative where it reaches out of the volume."""
        voxels = np.flatnonzero(label) if lesion else ()
        if len(voxels):
            centre = np.unravel_index(rng.choice(voxels), label.shape)
            patch = np.asarray(centre) - self.patch_size // 2
        else:
            room = np.asarray(label.shape) - self.patch_size
            patch = rng.integers(np.minimum(room, 0) // 2, np.maximum(room, room // 2) + 1)
        return patch - (self.window - self.patch_size) // 2


def cut_window(volume: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A box of a volume, with zeros where it reaches out.

    Args:
        volume: D x H x W.
        start: first voxel, which may be negative.
        size: of the box, in voxels.

    Returns:
        An array of ``size``.
    """
    first, last = np.maximum(start, 0), np.minimum(start + size, volume.shape)
    window = np.zeros(size, volume.dtype)
    if (last > first).all():
        inside = tuple(map(slice, first - start, last - start))
        window[inside] = volume[tuple(map(slice, first, last))]
    return window


def require_divisible(patch_size: Sequence[int], stages: int) -> None:
    """Refuse a patch that the network's strides do not divide.

    Args:
        patch_size: D, H, W in voxels.
        stages: stages of the network; each but the first halves the resolution.

    Raises:
        UsageError: a side is no multiple of ``2 ** (stages - 1)``.
    """
    stride = 2 ** (stages - 1)
    if any(side % stride for side in patch_size):
        raise UsageError(
            f"patch_size {list(patch_size)}: {stages} stages halve it {stages - 1} times; "
            f"give multiples of {stride}"
        )
