"""Data sets of whole volumes and of slice stacks, decoded and resampled once.

AGMR-Net (Du, Ma, Song) segments slice i from slices i-2 to i+1.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose
from torch import Tensor
from torch.nn.functional import pad

from stroke_nets.errors import DataError
from stroke_nets.progress import track
from stroke_nets.training.cache import Arrays, VolumeCache

OFFSETS = (-2, -1, 0, 1)  # AGMR-Net's stack; the label is slice 0. Any consecutive range with 0.
KEYS = ("image", "label")


class VolumeDataset(Dataset):
    """Labelled volumes, transformed once and stored in memory-mapped files.

    An item contains ``image`` and ``label``, each 1 x H x W x D. Unlike in MONAI's base class, the
    index must be an integer, not a slice. ``names`` are the cases' names.

    Args:
        data: dictionaries with ``image`` and ``label`` paths.
        transform: loads and resamples a dictionary; deterministic.
        cache_dir: folder of the cached volumes, readable by this user only.

    Raises:
        DataError: files are invalid; one line for each.
    """

    def __init__(self, data: Sequence[dict], transform: Callable, cache_dir: str) -> None:
        """Fill the cache, with a progress bar."""
        super().__init__(data, transform)
        cache = VolumeCache(Path(cache_dir), transform)
        self.names = [_name(case) for case in data]
        self.volumes, problems = [], []
        for case in track(data, "reading scans"):
            try:
                self.volumes.append(self._cached(case, cache))
            except RuntimeError as error:  # MONAI wraps a transform's error
                if not isinstance(error.__cause__, DataError):
                    raise
                problems.append(str(error.__cause__))
        if problems:
            raise DataError("\n".join(problems))

    def _cached(self, case: dict, cache: VolumeCache) -> Arrays:
        """Memory-mapped volumes, slices first (D x H x W)."""

        def make() -> Arrays:
            volumes = self.transform({k: case[k] for k in (*KEYS, "record") if k in case})
            return {
                k: np.moveaxis(np.asarray(volumes[k][0]), -1, 0).astype(dtype)
                for k, dtype in zip(KEYS, (np.float32, np.uint8), strict=True)
            }

        sums = case.get("record", {}).get("sha256", {})  # expected checksums, row D9
        return cache.get([Path(case[k]) for k in KEYS], make, str([sums.get(k) for k in KEYS]))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:  # type: ignore[override]
        """The volumes of case ``index``."""
        return {
            k: np.moveaxis(v, 0, -1)[None].astype(np.float32)
            for k, v in self.volumes[index].items()
        }


class SliceDataset(VolumeDataset):
    """Every slice of every volume, with its neighbours as channels.

    An item contains ``image`` (S x H x W: slices i-2, i-1, i, i+1, zeros outside the volume),
    ``label`` (1 x H x W: slice i) and ``case``, the name of case and slice.

    Args:
        data: dictionaries with ``image`` and ``label`` paths.
        transform: loads and resamples a dictionary; deterministic.
        cache_dir: folder of the cached volumes, readable by this user only.
        offsets: the S slices, relative to slice i.
        augment: random augmentation of an item, identical whenever it is drawn in an epoch; None
            for no augmentation.
        seed: seed of ``augment``, combined with the epoch and the item's index.
    """

    def __init__(
        self,
        data: Sequence[dict],
        transform: Callable,
        cache_dir: str,
        offsets: Sequence[int] = OFFSETS,
        augment: Compose | None = None,
        seed: int = 0,
    ) -> None:
        """Fill the cache and number the slices."""
        super().__init__(data, transform, cache_dir)
        self.augment = augment
        self.seed, self.epoch = seed, 0
        self.offsets = tuple(offsets)
        self.volumes = [{k: np.asarray(v) for k, v in case.items()} for case in self.volumes]
        self.ends = np.cumsum([len(v["label"]) for v in self.volumes])

    def set_epoch(self, epoch: int) -> None:
        """Augment slices differently in each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of slices."""
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        """The stack around slice ``index``."""
        case = int(np.searchsorted(self.ends, index, side="right"))
        volume = self.volumes[case]
        depth = len(volume["label"])
        z = index - int(self.ends[case]) + depth
        low, high = z + self.offsets[0], z + self.offsets[-1] + 1
        image = np.array(volume["image"][max(low, 0) : high])
        if len(image) < len(self.offsets):
            image = np.pad(image, ((max(-low, 0), max(high - depth, 0)), (0, 0), (0, 0)))
        label = volume["label"][z][None].astype(np.float32)
        item = {"image": image, "label": label, "case": f"{self.names[case]} slice {z}"}
        if self.augment is None:
            return item
        words = np.random.SeedSequence([self.seed, self.epoch, index])
        self.augment.set_random_state(seed=int(words.generate_state(1)[0]))
        return self.augment(item)

    def lesion_weights(self, share: float) -> list[float]:
        """Sampling weights that draw slices with lesion with probability ``share``.

        Args:
            share: 0 to 1.

        Returns:
            One weight for each slice, for `torch.utils.data.WeightedRandomSampler`.
        """
        lesion = np.concatenate([v["label"].any(axis=(1, 2)) for v in self.volumes])
        counts = max(int(lesion.sum()), 1), max(int((~lesion).sum()), 1)
        return np.where(lesion, share / counts[0], (1 - share) / counts[1]).tolist()


class SomeStacks:
    """Some slices of a patient, each with its neighbours as channels.

    Half of them lie evenly among the slices with lesion, the others among all; of a patient without
    lesion, all lie among all.

    Args:
        count: number of slices.
        offsets: the S slices of a stack, relative to slice i.
    """

    def __init__(self, count: int, offsets: Sequence[int] = OFFSETS) -> None:
        """Store number and offsets."""
        self.count, self.offsets = count, tuple(offsets)

    def __call__(self, patient: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """The items of a patient, which MONAI's collation joins to those of the others.

        Args:
            patient: ``image`` (C x X x Y x Z), whose first channel is taken, and ``label``
                (1 x X x Y x Z).

        Returns:
            Of each slice ``image`` (S x X x Y) and ``label`` (1 x X x Y).
        """
        image, label = patient["image"][0], patient["label"]
        lesion = label[0].any(0).any(0).nonzero()[:, 0]
        half = self.count // 2 if len(lesion) else 0
        every = torch.arange(label.shape[-1])
        chosen = torch.cat([_evenly(lesion, half), _evenly(every, self.count - half)])
        stacks = slice_stacks(image, self.offsets)
        return [{"image": stacks[z].clone(), "label": label[..., z].clone()} for z in chosen]


def slice_stacks(volume: Tensor, offsets: Sequence[int] = OFFSETS) -> Tensor:
    """All stacks of a volume (Sec. 4.1).

    Args:
        volume: H x W x D.
        offsets: the S slices of a stack, as steps from slice i: consecutive, with 0 among them.

    Returns:
        D x S x H x W: slices i-2, i-1, i, i+1, zeros outside the volume; a view of one padded copy.
    """
    slices = pad(volume, (-offsets[0], offsets[-1])).permute(2, 0, 1)
    return slices.unfold(0, len(offsets), 1).permute(0, 3, 1, 2)


def _evenly(values: Tensor, count: int) -> Tensor:
    """``count`` of the values, at equal distances."""
    return values[((torch.arange(count) + 0.5) / max(count, 1) * len(values)).long()]


def _name(case: dict) -> str:
    """The path of a case's scan in its data set, as far as known."""
    return case["record"]["image"] if "record" in case else Path(case["image"]).name
