"""nnU-Net v2's planning: spacing, patch, stages and batch size from a data set's fingerprint.

    python -m stroke_nets.training.nnunet_plan DATA --out overlay.yaml

Source: Isensee et al. 2021 and nnunetv2 2.8.1, ``ExperimentPlanner``; the plans are identical
(`tests/training/test_nnunet_plan.py`). Only the 3D configurations are planned, for 8 GB of GPU
memory. All sizes and spacings are in the axis order of nnU-Net's reader (z, y, x), then transposed
so that the axis with the largest spacing comes first, as in nnU-Net. With the overlay the bundles
resample as nnU-Net v2 does.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray

from stroke_nets.datasets import manifest
from stroke_nets.errors import UsageError
from stroke_nets.files import write_whole
from stroke_nets.runs.exit_codes import one_line_errors
from stroke_nets.scans.reader import read_scan

ANISOTROPY = 3  # an axis is coarse if its spacing is this many times the others'
SMALLEST_MAP = 4  # voxels along each axis of the deepest stage
WIDTH, MOST_WIDTH = 32, 320
BUDGET, BUDGET_BATCH = 560_000_000, 2  # feature-map voxels that fit in 8 GB with a batch of 2
DATASET_SHARE = 0.05  # maximum fraction of all voxels in a batch
LOWRES_BELOW = 0.25  # a second stage is planned if a patch covers less of the median volume

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprint:
    """The properties of a data set that determine its plan.

    Attributes:
        spacings: mm along z, y, x of each case.
        shapes: voxels along z, y, x of each case, cropped to the non-zero box.
        relative_size: median fraction of a case's voxels that remain after cropping.
    """

    spacings: Sequence[Sequence[float]]
    shapes: Sequence[Sequence[int]]
    relative_size: float = 1.0


@dataclass(frozen=True)
class Stage:
    """One configuration of a plan: full resolution, or the low resolution of a cascade.

    Attributes:
        spacing: mm.
        median_shape: median shape of the resampled cases, voxels.
        patch_size: voxels.
        batch_size: patches.
        strides: stride of each stage of the network; the first is 1.
        kernel_sizes: kernel size of each stage's convolutions.
        widths: channels of each stage.
        batch_dice: whether Dice pools the batch.
    """

    spacing: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    strides: list[list[int]]
    kernel_sizes: list[list[int]]
    widths: list[int] = field(default_factory=list)
    batch_dice: bool = False


@dataclass(frozen=True)
class Plan:
    """nnU-Net's plan of a data set.

    Attributes:
        transpose: order of the axes (z, y, x) in all sizes of the stages.
        masked_zscore: whether intensities are normalised over the non-zero voxels only.
        fullres: the configuration at full resolution.
        lowres: the one at low resolution; None if a full-resolution patch covers enough.
    """

    transpose: tuple[int, ...]
    masked_zscore: bool
    fullres: Stage
    lowres: Stage | None = None


def fingerprint(root: Path, records: Sequence[dict[str, Any]]) -> Fingerprint:
    """Read the scans of a manifest's records and measure them.

    Args:
        root: the data root.
        records: records of a manifest, each with an ``image``.
    """
    spacings, shapes, shares = [], [], []
    for record in records:
        scan = nib.as_closest_canonical(read_scan(root / record["image"]).image)
        filled = np.asanyarray(scan.dataobj) != 0
        box = [np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        sides = [
            int(at[-1] - at[0] + 1) if at.size else n for at, n in zip(box, scan.shape, strict=True)
        ]
        spacings.append(tuple(float(mm) for mm in scan.header.get_zooms()[2::-1]))
        shapes.append(tuple(sides[::-1]))
        shares.append(float(np.prod(sides) / filled.size))
    return Fingerprint(spacings, shapes, float(np.median(shares)))


def plan(found: Fingerprint, channels: int = 1, classes: int = 2) -> Plan:
    """Plan as nnU-Net v2 does.

    Args:
        found: the data set's fingerprint.
        channels: image channels. (As in nnU-Net, they do not affect the plan.)
        classes: number of classes, including the background.
    """
    spacing = _target_spacing(found)
    coarse = int(np.argmax(spacing))
    transpose = (coarse, *(axis for axis in range(3) if axis != coarse))
    resampled = [
        [round(mm / new * n) for mm, new, n in zip(old, spacing, shape, strict=True)]
        for old, shape in zip(found.spacings, found.shapes, strict=True)
    ]
    median = np.median(resampled, axis=0)[list(transpose)]
    voxels = float(np.prod(median)) * len(found.shapes)
    spacing = spacing[list(transpose)]
    full = _stage(spacing, median, voxels, classes)
    low = _lowres(full, spacing, median, len(found.shapes), classes)
    if low is not None:
        full = Stage(**{**vars(full), "batch_dice": True})
    return Plan(transpose, found.relative_size < 0.75, full, low)


def _target_spacing(found: Fingerprint) -> Floats:
    """The median spacing; for a coarse axis with few voxels, its tenth percentile."""
    spacings = np.vstack(found.spacings)
    target = np.percentile(spacings, 50, axis=0)
    size = np.percentile(np.vstack(found.shapes), 50, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarse]
    finest = max(target[others])
    if target[coarse] > ANISOTROPY * finest and size[coarse] * ANISOTROPY < min(size[others]):
        tenth = float(np.percentile(spacings[:, coarse], 10))
        target[coarse] = max(finest, tenth) + 1e-5 if tenth < finest else tenth
    return np.asarray(target, dtype=np.float64)


def _stage(spacing: Floats, median: Sequence[float], voxels: float, classes: int) -> Stage:
    """The largest patch with the median shape's proportions that fits the budget."""
    fine = 1 / spacing
    ideal = [round(side) for side in fine * (256**3 / np.prod(fine)) ** (1 / 3)]
    patch = np.array([min(side, whole) for side, whole in zip(ideal, median, strict=True)])
    strides, kernels, patch, step = _topology(spacing, patch)
    while (size := _feature_voxels(patch, strides, classes)) / BUDGET_BATCH * 2 > BUDGET:
        shrunk = int(np.argsort([side / m for side, m in zip(patch, median, strict=True)])[-1])
        trial = patch.copy()
        trial[shrunk] -= step[shrunk]
        step = _topology(spacing, trial)[3]
        patch[shrunk] -= step[shrunk]
        strides, kernels, patch, step = _topology(spacing, patch)
    batch = round(BUDGET / size * BUDGET_BATCH)
    most = round(voxels * DATASET_SHARE / float(np.prod(patch, dtype=np.float64)))
    return Stage(
        tuple(float(mm) for mm in spacing),
        tuple(float(n) for n in median),
        tuple(int(n) for n in patch),
        max(min(batch, most), 2),
        strides,
        kernels,
        _widths(len(strides)),
    )


def _lowres(full: Stage, spacing: Floats, median: Floats, cases: int, classes: int) -> Stage | None:
    """A coarser configuration whose patch covers a quarter of the median volume."""
    low, coarser = None, spacing.copy()
    seen, whole = float(np.prod(full.patch_size)), float(np.prod(median))
    while seen / whole < LOWRES_BELOW:
        behind = coarser.max() / coarser > 2
        coarser[behind if behind.any() else slice(None)] *= 1.03
        shape = spacing / coarser * median
        whole = float(np.prod(shape))
        low = _stage(coarser, tuple(round(n) for n in shape), whole * cases, classes)
        seen = float(np.prod(low.patch_size))
    return None if low is None or np.prod(median) / whole < 2 else low


def _topology(
    spacing: Floats, patch: NDArray[Any]
) -> tuple[list[list[int]], list[list[int]], NDArray[np.int64], NDArray[np.int64]]:
    """Strides and kernels of each stage, the patch padded to them, and its divisors.

    An axis is halved while it is at most twice as coarse as the finest axis that can be halved.
    """
    mm, size = list(spacing), [float(n) for n in patch]
    strides, kernels, kernel = [[1, 1, 1]], [], [1, 1, 1]
    while True:
        axes = [a for a in range(3) if size[a] >= 2 * SMALLEST_MAP]
        axes = [a for a in axes if mm[a] / min(mm[b] for b in axes) < 2]
        if not axes or (len(axes) == 1 and size[axes[0]] < 3 * SMALLEST_MAP):
            break
        kernel = [3 if k == 3 or mm[a] / min(mm) < 2 else 1 for a, k in enumerate(kernel)]
        strides.append([2 if a in axes else 1 for a in range(3)])
        kernels.append(kernel)
        for a in axes:
            mm[a], size[a] = mm[a] * 2, float(np.ceil(size[a] / 2))
    step = np.prod(strides, axis=0)
    padded = (-(-np.asarray(patch) // step) * step).astype(np.int64)
    return strides, [*kernels, [3, 3, 3]], padded, step


def _widths(stages: int) -> list[int]:
    return [min(MOST_WIDTH, WIDTH * 2**stage) for stage in range(stages)]


def _feature_voxels(patch: NDArray[Any], strides: Sequence[Sequence[int]], classes: int) -> int:
    """Voxels times channels of all feature maps, nnU-Net's estimate of a network's memory.

    Counts two convolutions per stage, down and up, one transposed convolution up and the last head.
    """
    sizes, size = [], [int(n) for n in patch]
    for stride in strides:
        size = [n // s for n, s in zip(size, stride, strict=True)]
        sizes.append(int(np.prod(size, dtype=np.int64)))
    widths = _widths(len(strides))
    down = sum(2 * w * n for w, n in zip(widths, sizes, strict=True))
    up = sum(3 * w * n for w, n in zip(widths[:-1], sizes[:-1], strict=True))
    return down + up + classes * sizes[0]


def overlay(planned: Plan) -> dict[str, Any]:
    """The plan as an overlay of the patch bundles for training, inference and evaluation.

    Raises:
        UsageError: the plan needs a network that the bundles do not have.
    """
    stage = planned.fullres
    alike = all(len(set(s)) == 1 for s in (*stage.strides, *stage.kernel_sizes))
    if not alike or planned.transpose != (0, 1, 2):
        raise UsageError(
            f"spacing {stage.spacing}: nnU-Net plans other strides for each axis, which the "
            "bundles' U-Nets do not have; resample the scans to one spacing, or use nnU-Net itself"
        )
    levels = len(stage.strides) - 1  # nnU-Net omits the lowest
    return {
        "overlay": "planned",
        "spacing": list(stage.spacing),
        "resampling": "nnunet",
        "patch_size": list(stage.patch_size),
        "batch_size": stage.batch_size,
        "masked_zscore": planned.masked_zscore,
        "widths": stage.widths,
        "supervision": [*(2**k for k in range(levels - 1, 0, -1)), 0][:levels],
    }


def main() -> None:
    """Parse the command line and write the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    one_line_errors()
    records = manifest.content(given.dataset_dir / manifest.MANIFEST)["records"]
    labelled = [record for record in records if "label" in record]
    write_whole(given.out, yaml.safe_dump(overlay(plan(fingerprint(given.dataset_dir, labelled)))))
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
