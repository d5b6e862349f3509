"""Effects of ageing on a brain, which the network must learn not to mistake for stroke."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.anatomy import Box, Head
from stroke_nets.synthesis.t1w.fields import Rng, dilate, resample, smooth_field, spread

AWAY = 4.0  # voxels from the middle, where the third and fourth ventricle end


class Contrast(Protocol):
    """Intensities that ageing needs: numbers, or (C, 1, 1, 1) of several images."""

    @property
    def fluid(self) -> Any:
        """Cerebrospinal fluid."""

    @property
    def white(self) -> Any:
        """White matter."""

    @property
    def leukoaraiosis(self) -> Any:
        """Changed white matter."""


def grow_old(rng: Rng, head: Head, contrast: Contrast) -> None:
    """Age a head in place: wide ventricles and horns, wide sulci, white-matter lesions."""
    age = rng.random()  # 0 young, 1 old
    if rng.random() < 0.6:
        _widen_ventricles(rng, head, contrast, age)
    if rng.random() < 0.5:
        side = int(rng.random() < 0.5)
        for x_half in (side, 1 - side)[: 1 + (rng.random() < 0.3)]:
            widen_horn(rng, head, x_half)
    _widen_sulci(rng, head, contrast, age)
    head.image = (head.image + head.texture).clamp_min(0)
    if rng.random() < 0.5:
        _change_white_matter(rng, head, contrast)
    if rng.random() < 0.35:
        _open_perivascular_spaces(rng, head, contrast)


def _widen_ventricles(rng: Rng, head: Head, contrast: Contrast, age: float) -> None:
    """Move the ventricular wall outwards by up to three voxels."""
    for _ in range(1 + (rng.random() < 0.5 * age) + (rng.random() < 0.3 * age)):
        added = (dilate(head.ventricle) - head.ventricle) * float(rng.uniform(0.2, 1))
        head.image = head.image + added * (contrast.fluid - head.image) * head.brain.clamp(0, 1)
        head.ventricle = head.ventricle + added
        head.white = head.white * (1 - added)


def widen_horn(rng: Rng, head: Head, x_half: int) -> None:
    """Widen a part of one lateral ventricle, in place: an occipital or temporal horn, or any.

    What lies around is pushed away. In many healthy brains one horn is wide: it is dark and has no
    twin on the other side, as a cavity, yet is no lesion.

    Args:
        rng: random generator.
        head: the head.
        x_half: 0 or 1, the half of the first axis.
    """
    inside = (head.ventricle > 0.5).nonzero().numpy()
    away = (inside[:, 0] - head.brain.shape[0] / 2) * (2 * x_half - 1)
    lateral = inside[away > AWAY]
    if not len(lateral):
        return
    kind = rng.random()
    if kind < 0.85:  # the last tenth backwards is occipital, downwards temporal
        along = lateral[:, 1 if kind < 0.55 else 2]
        lateral = lateral[along <= np.quantile(along, 0.1)]
    centre = lateral[rng.integers(len(lateral))].tolist()
    widths = (rng.uniform(5, 10, 3) * (1, 1.5, 1)).tolist()
    box, source = _magnified(centre, widths, float(rng.uniform(0.3, 0.75)), head.brain.shape)
    volumes = list(vars(head.part(box)).values())
    flat = [volume.reshape(-1, *volume.shape[-3:]) for volume in volumes]
    moved = resample(torch.cat(flat), source).split([len(one) for one in flat])
    for volume, wide in zip(volumes, moved, strict=True):
        volume.copy_(wide.view_as(volume))


def _magnified(
    centre: Sequence[int], widths: Sequence[float], strength: float, shape: Sequence[int]
) -> tuple[Box, Tensor]:
    """A box and where its voxels come from, as `resample` takes it, (1, X, Y, Z, 3).

    Around the centre lengths grow by 1 / (1 - strength); two widths away nothing moves.
    """
    x, y, z = (
        slice(max(0, int(c - 2 * w)), min(n, int(c + 2 * w) + 2))
        for c, w, n in zip(centre, widths, shape, strict=True)
    )
    axes = [
        torch.arange(s.start, s.stop) - float(c) for s, c in zip((x, y, z), centre, strict=True)
    ]
    away = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    distance = (away / torch.tensor(widths).view(3, 1, 1, 1)).norm(dim=0)
    away = away * (1 - strength * (1 - distance**2 / 4).clamp_min(0) ** 2)
    for axis, offsets in enumerate(axes):  # from voxels to -1 at the first and 1 at the last
        away[axis] = 2 * (away[axis] - offsets[0]) / (offsets[-1] - offsets[0]) - 1
    return (x, y, z), away.flip(0).permute(1, 2, 3, 0)[None]


def _widen_sulci(rng: Rng, head: Head, contrast: Contrast, age: float) -> None:
    """Shrink the cortex, unevenly and asymmetrically."""
    places = smooth_field(rng, 14, head.brain.shape) * rng.uniform(0.1, 0.5)
    strength = (places + rng.uniform(-0.3, 0.8) * (0.4 + age)).clamp(0, 1)
    grown = (dilate(head.sulci) - head.sulci).clamp(0, 1)
    added = grown * strength * rng.uniform(0.2, 0.7) * head.brain.clamp(0, 1)
    head.image = head.image + added * (contrast.fluid - head.image)
    head.sulci = head.sulci + added


def _change_white_matter(rng: Rng, head: Head, contrast: Contrast) -> None:
    """White-matter changes around the ventricles."""
    clumps = smooth_field(rng, rng.uniform(2.5, 6), head.brain.shape)
    near = spread(head.ventricle, 12)
    share = ((clumps + 7 * near - rng.uniform(1.6, 2.8)) * 3).clamp(0, 1) * head.white
    head.image = head.image + share * rng.uniform(0.2, 0.8) * (
        contrast.leukoaraiosis - contrast.white
    )


def _open_perivascular_spaces(rng: Rng, head: Head, contrast: Contrast) -> None:
    """Single dark voxels in white matter and nuclei."""
    tissue = (head.white + 0.5 * head.grey()).numpy().ravel()
    places = np.flatnonzero(tissue > 0.5)
    count = rng.integers(3, 60)
    share = torch.zeros(head.brain.numel())
    chosen = torch.from_numpy(places[rng.integers(0, len(places), count)])
    share[chosen] = torch.from_numpy(rng.uniform(0.1, 0.55, count).astype(np.float32))
    head.image = head.image + share.view(head.brain.shape) * (contrast.fluid - head.image)
