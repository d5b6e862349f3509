"""One patient: anatomy, age, lesions, scanner."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.ageing import grow_old
from stroke_nets.synthesis.t1w.anatomy import paint_head
from stroke_nets.synthesis.t1w.lesion_shapes import draw_shape, draw_small
from stroke_nets.synthesis.t1w.lesion_tissue import add_lesion
from stroke_nets.synthesis.t1w.scanner import process, read_out, scan
from stroke_nets.synthesis.t1w.sources import Sources
from stroke_nets.synthesis.t1w.tissues import draw_contrast
from stroke_nets.transforms.brain_box import brain_mask, scale_by_white_matter


@dataclass(frozen=True)
class Habit:
    """Frequencies of the kinds of patients.

    Attributes:
        healthy: share of patients without a lesion.
        plain: share of patients whose lesions are large, uniform cavities, which are easy to learn.
        second, third: shares of patients with a second and a third lesion.
        small: share of patients with lesions whose lesions are two to six small ones.
        subcortical: share of drawn lesions up to 1.8 ml that lie where lacunes do, in white matter,
            deep nuclei, brainstem and cerebellum; the others, as after emboli, lie anywhere.
    """

    healthy: float = 0.12
    plain: float = 0.0
    second: float = 0.3
    third: float = 0.12
    small: float = 0.0
    subcortical: float = 0.8  # ours


def make_patient(
    seed: int, index: int, sources: Sources, habit: Habit | None = None
) -> tuple[Tensor, Tensor]:
    """Make one patient in the box of `stroke_nets.transforms.brain_box`.

    Args:
        seed: seed of the series, not negative.
        index: number of the patient, not negative.
        sources: anatomies and masks.
        habit: frequencies of the kinds of patients; ``Habit()`` if None.

    Returns:
        Image (float32; 1 in bright white matter, 0 outside the brain) and lesion mask (bool), both
        (X, Y, Z).
    """
    habit = habit or Habit()
    rng = np.random.default_rng([seed, index])
    plain = bool(rng.random() < habit.plain)
    contrast = draw_contrast(rng)
    anatomy = sources.anatomies[rng.integers(len(sources.anatomies))]
    head = paint_head(rng, anatomy, contrast)
    grow_old(rng, head, contrast)
    outline, gone = torch.zeros(head.image.shape, dtype=torch.bool), None
    if rng.random() >= habit.healthy:
        count = 1 + (rng.random() < habit.second) + (rng.random() < habit.third)
        small = bool(rng.random() < habit.small)
        for _ in range(rng.integers(2, 7) if small else count):
            if small:
                shape = draw_small(rng, head, subcortical=habit.subcortical)
            else:
                shape = draw_shape(rng, sources, head, plain, habit.subcortical)
            lesion = add_lesion(rng, head, shape, contrast, plain)
            outline |= lesion.outline
            gone = lesion.gone if gone is None else torch.maximum(gone, lesion.gone)
    image = scan(rng, head.image, contrast.white)
    image = process(rng, image, outline, head, gone)
    image = read_out(rng, image, contrast)
    return scale_by_white_matter(image), outline & brain_mask()
