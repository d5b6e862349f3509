"""Effects of ageing on a brain, which the network must learn not to mistake for stroke."""

from typing import Any, Protocol

import numpy as np
import torch

from stroke_nets.synthesis.t1w.anatomy import Head
from stroke_nets.synthesis.t1w.fields import Rng, dilate, smooth_field, spread


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
    """Age a head in place: wide ventricles, wide sulci, white-matter lesions."""
    age = rng.random()  # 0 young, 1 old
    if rng.random() < 0.6:
        _widen_ventricles(rng, head, contrast, age)
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
