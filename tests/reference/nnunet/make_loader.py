"""Where nnU-Net v2's own loader puts its patches: 10,000 draws of each case, as counts.

Run it with nnunetv2 2.8.1 and torch 2.13.0 installed (no torchvision is needed)::

    python tests/reference/nnunet/make_loader.py

It calls `nnUNetDataLoader.get_bbox` on label maps that `tests/training/test_patches.py` makes too,
and writes ``loader.npz``: for each case, the counts of the first voxel of the patch along each
axis. Starts are those of the patch that the network sees, not of the larger window that nnU-Net
rotates.
"""

from pathlib import Path

import numpy as np

DRAWS = 10_000
OFFSET = 32  # added to a start, which may be negative, before it is counted


def classes() -> np.ndarray:
    """A large lesion of class 4 and a tiny one of class 1, near the low and the high corner."""
    label = np.zeros((40, 30, 26), np.uint8)
    label[1:13, 2:14, 3:15] = 4
    label[37:39, 27, 24] = 1
    return label


def cases() -> dict[str, tuple[np.ndarray, tuple[int, ...], bool]]:
    """Label map, patch and whether a lesion is asked for, by name."""
    small = classes()[:11, :9, :]
    return {
        "random": (classes(), (16, 16, 8), False),
        "lesion": (classes(), (16, 16, 8), True),
        "volume_smaller_than_patch": (small, (16, 16, 8), False),
        "lesion_in_a_smaller_volume": (small, (16, 16, 8), True),
        "no_lesion": (np.zeros_like(classes()), (16, 16, 8), True),
    }


def starts(label: np.ndarray, patch: tuple[int, ...], lesion: bool, window: np.ndarray):
    """The first voxels of nnU-Net's patches, draws x 3."""
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader  # tests have no nnU-Net

    loader = nnUNetDataLoader.__new__(nnUNetDataLoader)
    loader.patch_size, loader.need_to_pad = window, window - np.asarray(patch)
    loader.has_ignore, loader.annotated_classes_key = False, (-1, 0, 1, 4)
    found = {c: np.argwhere(label == c) for c in (1, 4)}
    locations = {c: np.insert(v, 0, 0, axis=1) for c, v in found.items()}
    low = [loader.get_bbox(label.shape, lesion, locations)[0] for _ in range(DRAWS)]
    return np.asarray(low) + (window - np.asarray(patch)) // 2


def main() -> None:
    """Write the counts."""
    np.random.seed(0)  # noqa: NPY002 - the generator that nnU-Net draws from
    counts = {}
    for name, (label, patch, lesion) in cases().items():
        window = np.asarray(patch) + 10  # nnU-Net's window; an even margin, as in this project
        found = starts(label, patch, lesion, window) + OFFSET
        counts[name] = np.stack([np.bincount(axis, minlength=96) for axis in found.T])
    np.savez_compressed(Path(__file__).with_name("loader.npz"), **counts)


if __name__ == "__main__":
    main()
