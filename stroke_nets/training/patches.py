"""Random 3D patches of volumes, sampled as in nnU-Net.

Source: Isensee et al. 2021 (nnU-Net), whose recipe MSCSA (arXiv:2501.15423) uses; the rule is the
same in nnU-Net v1 and v2. There are two differences. A batch of one patch is centred on a lesion
(never in nnU-Net), and every lesion voxel can be drawn, whereas nnU-Net keeps a sample of 10,000
voxels per class.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose

from stroke_nets.errors import UsageError
from stroke_nets.training.slices import VolumeDataset

WINDOW = (math.cos(math.radians(30)) + math.sin(math.radians(30))) / 0.85
"""Side of the window around a patch, in patches: fits a rotation by 30 degrees and zooming out."""

Volumes = dict[str, np.ndarray]


FOREGROUND = 0.33  # fraction of a batch's patches that must contain a lesion; nnU-Net


class PatchDataset(VolumeDataset):
    """Patches of labelled volumes; the last third of a batch is centred on lesion voxels.

    nnU-Net's rule for a centred patch: a class is drawn first, then a voxel of that class. The
    patch starts half its size before the voxel, but never before the volume; at the far side it
    may extend beyond the volume and is padded with zeros.

    Item ``k`` of an epoch is always the same: its case, position and augmentation depend only on
    the seed, the epoch and ``k``. It contains ``image`` and ``label``, each 1 x D x H x W, and
    ``case``, the scan's name. A case without lesion gives a random patch.

    Args:
        data: dictionaries with ``image`` and ``label`` paths.
        transform: loads and crops a dictionary; deterministic.
        cache_dir: folder of the cached volumes, readable by this user only.
        patch_size: D, H, W of a patch in voxels.
        augment: makes a patch from the window around it (`WINDOW` times the patch, same centre,
            zeros outside the volume).
        batches: batches per epoch.
        batch_size: patches per batch.
        seed: seed of all random choices.

    Raises:
        DataError: files are invalid; one line for each.
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
        self.window += (self.window - self.patch_size) % 2  # so that the patch is centred
        self.augment = Compose([augment])
        self.batches, self.batch_size = batches, batch_size
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw different patches in each epoch."""
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
        """nnU-Net's rule for a third of the batch; ours: always the last patch."""
        return place >= min(round(self.batch_size * (1 - FOREGROUND)), self.batch_size - 1)

    def _start(self, rng: np.random.Generator, label: np.ndarray, lesion: bool) -> np.ndarray:
        """First voxel of the window; negative if it starts outside the volume."""
        patch = patch_start(rng, label, self.patch_size, lesion)
        return patch - (self.window - self.patch_size) // 2


def patch_start(
    rng: np.random.Generator, label: np.ndarray, patch_size: np.ndarray, lesion: bool
) -> np.ndarray:
    """Draw where a patch starts, as nnU-Net's loader does.

    Args:
        rng: random generator.
        label: classes, D x H x W; 0 is background.
        patch_size: D, H, W in voxels.
        lesion: centre the patch on a voxel of a class in the label, if there is one.

    Returns:
        The first voxel; negative if the volume is smaller than the patch.
    """
    room = np.asarray(label.shape) - patch_size
    low, high = np.minimum(room, 0) // 2, np.where(room < 0, -(-room // 2), room)
    voxels = np.flatnonzero(label) if lesion else np.empty(0, int)
    if not len(voxels):
        return rng.integers(low, high + 1)
    classes = label.ravel()[voxels]
    voxels = voxels[classes == rng.choice(np.unique(classes))]
    centre = np.unravel_index(rng.choice(voxels), label.shape)
    return np.maximum(low, np.asarray(centre) - patch_size // 2)


def cut_window(volume: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Crop a box from a volume, with zeros outside the volume.

    Args:
        volume: D x H x W.
        start: first voxel, which may be negative.
        size: size of the box, in voxels.

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
    """Refuse a patch size that is not divisible by the network's strides.

    Args:
        patch_size: D, H, W in voxels.
        stages: number of stages; each after the first halves the resolution.

    Raises:
        UsageError: a side is not a multiple of ``2 ** (stages - 1)``.
    """
    stride = 2 ** (stages - 1)
    if any(side % stride for side in patch_size):
        raise UsageError(
            f"patch_size {list(patch_size)}: {stages} stages halve it {stages - 1} times; "
            f"give multiples of {stride}"
        )
