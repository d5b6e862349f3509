"""One patient: anatomy, age, old and acute infarcts, scanner."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.diffusion.lesions import add_acute, add_old, draw_shapes
from stroke_nets.synthesis.diffusion.scanner import acquire, distort, field_of_view, stripped
from stroke_nets.synthesis.diffusion.signals import Signals, draw_signals, measured_adc
from stroke_nets.synthesis.t1w.ageing import grow_old
from stroke_nets.synthesis.t1w.anatomy import Head, deform, grain
from stroke_nets.synthesis.t1w.fields import Rng
from stroke_nets.synthesis.t1w.lesion_shapes import draw_shape
from stroke_nets.synthesis.t1w.sources import Sources
from stroke_nets.transforms.brain_box import brain_mask, scale_adc, scale_dwi


@dataclass(frozen=True)
class Habit:
    """Frequencies of the kinds of patients.

    Attributes:
        healthy: share of patients without an acute infarct.
        plain: share of patients whose infarcts are large, even and dark in the ADC.
        old: share of patients with an old infarct.
        old_is_lesion: whether the mask holds old infarcts as well.
        dwi_alone: share of patients without an ADC map: it is 0 everywhere.
        stripped: share of patients whose skull and outer fluid were removed.
    """

    healthy: float = 0.12
    plain: float = 0.0
    old: float = 0.25
    old_is_lesion: bool = False
    dwi_alone: float = 0.25
    stripped: float = 0.6


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
        DWI (1 in the brain's median) and ADC (1e-3 mm2/s), float32, (2, X, Y, Z), 0 outside the
        brain; and the mask of acute infarcts, bool, (X, Y, Z).
    """
    habit = habit or Habit()
    rng = np.random.default_rng([seed, index])
    plain = bool(rng.random() < habit.plain)
    signals = draw_signals(rng)
    head = paint_head(rng, sources.anatomies[rng.integers(len(sources.anatomies))], signals)
    grow_old(rng, head, signals)
    outline = torch.zeros(head.brain.shape, dtype=torch.bool)
    if rng.random() < habit.old:
        old = add_old(rng, head, draw_shape(rng, sources, head, False))
        outline |= old & habit.old_is_lesion
    if rng.random() >= habit.healthy:
        shapes = draw_shapes(rng, sources, head, plain)
        outline |= add_acute(rng, head, shapes, signals, plain)
    extra = torch.stack([outline.float(), head.brain, (head.sulci + head.ventricle).clamp(0, 1)])
    moved = distort(rng, torch.cat([head.image, extra]), head)
    scan = acquire(rng, moved[:2])
    seen = field_of_view(rng, tuple(outline.shape))
    if rng.random() < habit.stripped:
        seen &= stripped(rng, moved[3], moved[4])
    adc = measured_adc(scan) * float(rng.random() >= habit.dwi_alone)
    image = torch.stack([scale_dwi(scan[1] * seen), scale_adc(adc * seen)])
    return image, (moved[2] > 0.5) & seen & brain_mask()


def paint_head(rng: Rng, shares: np.ndarray, signals: Signals) -> Head:
    """Paint both signals of an anatomy; T2 and ADC vary within its tissues.

    Args:
        rng: random generator, for texture and shape.
        shares: fractions of the tissues in each voxel, in 255ths, (T, X, Y, Z).
        signals: of the patient.
    """
    image, fractions = deform(rng, shares, signals.means)
    t2 = float(rng.uniform(0.08, 0.18)) * grain(rng, image.shape[1:])
    adc = float(rng.uniform(0.06, 0.16)) * grain(rng, image.shape[1:])
    texture = image * torch.stack([t2, t2 - adc]).clamp(-0.5, 0.5)
    return Head(image, texture, *fractions)
