"""Random 3D patches of volumes, placed by nnU-Net's rule.

Source: Isensee et al. 2021 (nnU-Net), the recipe that MSCSA (arXiv:2501.15423) trains with; the
rule is the same in nnU-Net v1 and v2. Two things differ. A batch of one patch is centred on a
lesion (nnU-Net's would never be), and every lesion voxel can be drawn, where nnU-Net keeps a sample
of 10,000 voxels of each class.
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


FOREGROUND = 0.33  # share of a batch's patches that must hold a lesion; nnU-Net


class PatchDataset(VolumeDataset):
    """Patches of labelled volumes; the last third of a batch is centred on lesion voxels.

    nnU-Net's rule for a centred patch: a class is drawn first, then a voxel of that class. The
    patch starts half its size before the voxel, but never before the volume; at the far side it may
    reach out, and zeros fill it.

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
        """nnU-Net's rule for a third of the batch; ours: the last patch in any case."""
        return place >= min(round(self.batch_size * (1 - FOREGROUND)), self.batch_size - 1)

    def _start(self, rng: np.random.Generator, label: np.ndarray, lesion: bool) -> np.ndarray:
        """First voxel of the window; negative where it reaches out of the volume."""
        patch = patch_start(rng, label, self.patch_size, lesion)
        return patch - (self.window - self.patch_size) // 2


def patch_start(
    rng: np.random.Generator, label: np.ndarray, patch_size: np.ndarray, lesion: bool
) -> np.ndarray:
    """Draw where a patch starts, as nnU-Net's loader does.

    Args:
        rng: draws the place.
        label: classes, D x H x W; 0 is background.
        patch_size: D, H, W in voxels.
        lesion: centre the patch on a voxel of a class that the label holds, if it holds any.

    Returns:
        The first voxel; negative where the volume is smaller than the patch.
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
