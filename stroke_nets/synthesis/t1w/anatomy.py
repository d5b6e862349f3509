"""A healthy head in the template's box, painted from its tissue fractions.

Every contrast paints and deforms heads in the same way; `stroke_nets.synthesis.diffusion` too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.fields import (
    Bend,
    Rng,
    dilate,
    random_map,
    resample,
    smooth_field,
    white_noise,
)
from stroke_nets.synthesis.t1w.tissues import (
    BRAIN,
    CEREBELLAR_WHITE,
    FLUID,
    VENTRICLE,
    WHITE,
    Contrast,
)

Box = tuple[slice, slice, slice]


@dataclass
class Head:
    """One patient's head; all volumes are (X, Y, Z). Fractions lie in [0, 1].

    Attributes:
        image: intensities; of several images, (C, X, Y, Z), and so is ``texture``.
        texture: variation within the tissues, included in the image.
        white: fraction of white matter.
        ventricle: fraction of the ventricles.
        sulci: fraction of fluid outside the ventricles.
        brain: fraction of brain tissue.
    """

    image: Tensor
    texture: Tensor
    white: Tensor
    ventricle: Tensor
    sulci: Tensor
    brain: Tensor

    def grey(self) -> Tensor:
        """Fraction of grey matter."""
        return (self.brain - self.white).clamp(0, 1)

    def tissue(self) -> Tensor:
        """Fraction of living tissue, where lesions may begin."""
        return (self.brain - self.ventricle - self.sulci).clamp(0, 1)

    def subcortical(self) -> Tensor:
        """Fraction of living tissue where no sulcus is within 4 mm, 0 elsewhere."""
        near = dilate(dilate((self.sulci > 0.3).float()))
        return self.tissue() * (1 - near)

    def part(self, box: Box) -> "Head":
        """The part of the head inside a box; it shares the head's memory."""
        return Head(**{name: volume[(..., *box)] for name, volume in vars(self).items()})


def box_around(shape: Tensor, margin: int) -> Box | None:
    """The box of what is not 0 in (X, Y, Z), with a margin in voxels; None below 3 voxels."""
    inside = shape.nonzero()
    if len(inside) < 3:
        return None
    low = (inside.amin(0) - margin).clamp_min(0).tolist()
    high = (inside.amax(0) + margin + 1).tolist()
    x, y, z = (slice(a, min(b, n)) for a, b, n in zip(low, high, shape.shape, strict=True))
    return x, y, z


def paint_head(rng: Rng, shares: np.ndarray, contrast: Contrast) -> Head:
    """Paint an anatomy and deform it.

    Rotation, scale and shift are the residuals of a head that was registered to the template.

    Args:
        rng: random generator, for texture and shape.
        shares: fractions of `TISSUES` in each voxel, in 255ths, (T, X, Y, Z).
        contrast: intensities of the patient.
    """
    strength = rng.uniform(0.4, 0.8)
    table = np.stack([contrast.means, contrast.deviations * strength])
    (image, deviation), fractions = deform(rng, shares, table)
    return Head(image, deviation * grain(rng, image.shape), *fractions)


def deform(
    rng: Rng, shares: np.ndarray, table: np.ndarray
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Deform images and fractions of an anatomy by the same random map.

    Args:
        rng: random generator, for the map.
        shares: fractions of `TISSUES` in each voxel, in 255ths, (T, X, Y, Z).
        table: value of each tissue in each image, (R, T).

    Returns:
        The images, (R, X, Y, Z); and the fractions of white matter, ventricle, sulci and brain.
    """
    parts = torch.from_numpy(shares.copy()).flatten(1).float() * (1 / 255)
    painted = (torch.tensor(table, dtype=torch.float32) @ parts).view(-1, *shares.shape[1:])
    parts = parts.view(shares.shape)
    together = torch.cat(
        [
            painted,
            parts[[WHITE, CEREBELLAR_WHITE]].sum(0, keepdim=True),
            parts[VENTRICLE:],
            parts[[FLUID, VENTRICLE]].sum(0, keepdim=True),
            parts[list(BRAIN)].sum(0, keepdim=True),
        ]
    )
    bend = Bend(0.06, 0.06, 1.5, ((20, 1.2), (8, rng.uniform(0, 0.7))))
    source = random_map(rng, bend, rng.random() < 0.5, shares.shape[1:])
    moved = resample(together, source)
    white, ventricle, fluid, brain = moved[-4:]
    return moved[:-4], (white, ventricle, (fluid - ventricle).clamp(0, 1), brain)


def grain(rng: Rng, shape: Sequence[int]) -> Tensor:
    """Variation within a tissue: of single voxels, and on scales of about 4 mm and 12 mm."""
    fine = 0.4 * white_noise(rng, shape)
    return fine + 0.6 * smooth_field(rng, 2.2, shape) + 0.4 * smooth_field(rng, 6, shape)
