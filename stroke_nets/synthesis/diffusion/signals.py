"""Signals of the tissues at b = 0 and b = 1000 s/mm2.

At b = 0 a spin echo gives S0 = density exp(-TE / T2), here relative to white matter; with diffusion
weighting S = S0 exp(-b ADC). Ranges of T2 (at 3 T) are about those of Stanisz et al. (Magnetic
Resonance in Medicine 2005) and of the ADC those of Helenius et al. (AJNR 2002), widened to cover
the four patients of ISLES 2022 whose figures are in ``tests/synthesis/diffusion``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stroke_nets.synthesis.t1w.fields import Rng
from stroke_nets.synthesis.t1w.tissues import FLUID, GREY, TISSUES, VENTRICLE, WHITE

B = 1.0  # ms/um2, which is 1000 s/mm2; ADC is in um2/ms, which is 1e-3 mm2/s
ECHO_MS = (60.0, 100.0)


class Prior(NamedTuple):
    """Ranges of a tissue's proton density (relative), T2 (ms) and ADC (um2/ms)."""

    density: tuple[float, float]
    t2: tuple[float, float]
    adc: tuple[float, float]


PRIORS = {
    "air": Prior((0.0, 0.02), (50, 60), (1.0, 2.0)),
    "fluid": Prior((0.35, 0.8), (700, 1500), (2.4, 3.4)),  # density: T1 and flow take the rest
    "white matter": Prior((0.69, 0.71), (66, 80), (0.60, 0.72)),
    "cortex": Prior((0.79, 0.84), (90, 112), (0.64, 0.78)),
    "cerebellar white matter": Prior((0.69, 0.72), (66, 80), (0.56, 0.68)),
    "cerebellar cortex": Prior((0.79, 0.84), (88, 108), (0.58, 0.72)),
    "thalamus": Prior((0.74, 0.77), (72, 86), (0.62, 0.76)),
    "putamen": Prior((0.76, 0.80), (60, 82), (0.60, 0.74)),
    "pallidum": Prior((0.72, 0.75), (42, 62), (0.60, 0.80)),
    "diencephalon": Prior((0.73, 0.76), (70, 86), (0.64, 0.80)),
    "brain stem": Prior((0.70, 0.73), (68, 84), (0.58, 0.74)),
    "meninges": Prior((0.2, 0.5), (60, 250), (0.9, 2.4)),
    "bone and air cells": Prior((0.0, 0.08), (40, 60), (0.8, 2.0)),
    "skin, fat and muscle": Prior((0.1, 0.4), (40, 60), (0.8, 2.0)),  # fat is suppressed
    "ventricle": Prior((0.35, 0.8), (700, 1500), (2.4, 3.4)),
}


@dataclass(frozen=True)
class Signals:
    """Signals of one patient; white matter at b = 0 is 1.

    Attributes:
        echo_ms: echo time.
        means: of each of `TISSUES` at b = 0 and b = 1000, (2, T).
    """

    echo_ms: float
    means: NDArray[np.float64]

    def of(self, tissue: int) -> Tensor:
        """Both signals of a tissue, (2, 1, 1, 1)."""
        return torch.tensor(self.means[:, tissue], dtype=torch.float32).view(2, 1, 1, 1)

    @property
    def white(self) -> Tensor:
        """White matter, (2, 1, 1, 1)."""
        return self.of(WHITE)

    @property
    def grey(self) -> Tensor:
        """Cortex, (2, 1, 1, 1)."""
        return self.of(GREY)

    @property
    def fluid(self) -> Tensor:
        """Cerebrospinal fluid, (2, 1, 1, 1)."""
        return self.of(FLUID)

    @property
    def leukoaraiosis(self) -> Tensor:
        """Changed white matter: longer T2 and a higher ADC, so that it hardly shows in DWI."""
        return weighted(1.7 * self.white[0], 1.25)


def weighted(b0: Tensor, adc: float | Tensor) -> Tensor:
    """The signals at b = 0 and b = 1000, (2, X, Y, Z).

    Args:
        b0: (X, Y, Z).
        adc: um2/ms, a number or (X, Y, Z).
    """
    return torch.stack([b0, b0 * torch.exp(-B * torch.as_tensor(adc))])


def measured_adc(signals: Tensor) -> Tensor:
    """The ADC of both signals, in um2/ms, (X, Y, Z); 0 to 4."""
    b0, dwi = signals.clamp_min(1e-4)
    return (torch.log(b0 / dwi) / B).clamp(0, 4)


def draw_signals(rng: Rng) -> Signals:
    """Draw echo time, T2, density and ADC of each tissue."""
    echo = float(rng.uniform(*ECHO_MS))
    priors = np.array([PRIORS[tissue.name] for tissue in TISSUES])  # (T, 3, 2)
    density, t2, adc = rng.uniform(priors[..., 0], priors[..., 1]).T
    density[VENTRICLE] = density[FLUID] * rng.uniform(0.9, 1.1)
    t2[VENTRICLE], adc[VENTRICLE] = t2[FLUID], min(3.5, adc[FLUID] * rng.uniform(1.0, 1.08))
    b0 = density * np.exp(-echo / t2)
    b0 /= b0[WHITE]
    return Signals(echo, np.stack([b0, b0 * np.exp(-B * adc)]))
