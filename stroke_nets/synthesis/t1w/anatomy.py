"""A healthy head in the template's box, painted from its tissue fractions."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.fields import (
    Bend,
    Rng,
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


@dataclass
class Head:
    """One patient's head; all volumes are (X, Y, Z). Fractions lie in [0, 1].

    Attributes:
        image: intensities.
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


def paint_head(rng: Rng, shares: np.ndarray, contrast: Contrast) -> Head:
    """Paint an anatomy and deform it.

    Rotation, scale and shift are the residuals of a head that was registered to the template.

    Args:
        rng: random generator, for texture and shape.
        shares: fractions of `TISSUES` in each voxel, in 255ths, (T, X, Y, Z).
        contrast: intensities of the patient.
    """
    parts = torch.from_numpy(shares.copy()).flatten(1).float() * (1 / 255)
    strength = rng.uniform(0.4, 0.8)
    table = np.stack([contrast.means, contrast.deviations * strength])
    painted = (torch.tensor(table, dtype=torch.float32) @ parts).view(2, *shares.shape[1:])
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
    image, deviation, white, ventricle, fluid, brain = resample(together, source)
    sulci = (fluid - ventricle).clamp(0, 1)
    return Head(image, deviation * _grain(rng, image), white, ventricle, sulci, brain)


def _grain(rng: Rng, image: Tensor) -> Tensor:
    """Variation within a tissue: of single voxels, and on scales of about 4 mm and 12 mm."""
    fine = 0.4 * white_noise(rng, image.shape)
    return (
        fine + 0.6 * smooth_field(rng, 2.2, image.shape) + 0.4 * smooth_field(rng, 6, image.shape)
    )
