"""The tissues of a label map and their T1w intensities.

Labels are those of FreeSurfer and of SynthSeg's training maps (5xx: outside the brain). Means,
standard deviations and their variation between scans are SynthSeg's T1w priors, in its units
(Billot et al., Medical Image Analysis 2023; https://github.com/BBillot/SynthSeg, Apache-2.0).
`draw_contrast` orders them as in real scans.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stroke_nets.synthesis.t1w.fields import Rng


@dataclass(frozen=True)
class Tissue:
    """One tissue: its labels and its prior."""

    name: str
    labels: tuple[int, ...]
    mean: float
    mean_spread: float
    deviation: float
    deviation_spread: float


TISSUES = (
    Tissue("air", (0,), 7.0, 1.75, 5.0, 2.5),
    Tissue("fluid", (24, 30, 62), 44.44, 11.21, 25.57, 9.84),
    Tissue("white matter", (85, 2, 41), 160.29, 21.66, 15.63, 5.48),
    Tissue("cortex", (3, 11, 17, 18, 25, 26, 42, 50, 53, 54, 57, 58), 96.3, 12.18, 18.92, 6.31),
    Tissue("cerebellar white matter", (7, 46), 135.95, 13.41, 15.34, 5.66),
    Tissue("cerebellar cortex", (8, 47), 88.16, 10.56, 17.09, 5.49),
    Tissue("thalamus", (10, 49), 129.52, 17.69, 19.59, 7.77),
    Tissue("putamen", (12, 51), 124.05, 15.73, 13.81, 7.15),
    Tissue("pallidum", (13, 52), 151.8, 19.51, 8.56, 4.07),
    Tissue("diencephalon", (28, 60, 136, 137, 163, 164), 142.53, 16.06, 21.13, 6.95),
    Tissue("brain stem", (16,), 129.78, 12.24, 17.53, 6.78),
    Tissue("meninges", (502,), 126.38, 24.8, 83.95, 49.37),
    Tissue("bone and air cells", (506, 509, 512, 514, 515), 35.0, 10.0, 22.0, 12.0),  # of five
    Tissue("skin, fat and muscle", (507, 508, 511, 516, 530), 110.0, 15.0, 55.0, 20.0),  # of five
    Tissue("ventricle", (4, 5, 14, 15, 43, 44, 72), 44.44, 11.21, 25.57, 9.84),
)
AIR, FLUID, WHITE, GREY, CEREBELLAR_WHITE, CEREBELLAR_GREY, THALAMUS, PUTAMEN, PALLIDUM = range(9)
DIENCEPHALON, BRAIN_STEM, MENINGES, VENTRICLE = 9, 10, 11, 14
BRAIN = range(WHITE, BRAIN_STEM + 1)


@dataclass(frozen=True)
class Contrast:
    """Intensities of one patient.

    Attributes:
        means: mean of each of `TISSUES`.
        deviations: standard deviation within each.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @property
    def white(self) -> float:
        """Intensity of white matter."""
        return float(self.means[WHITE])

    @property
    def grey(self) -> float:
        """Intensity of the cortex."""
        return float(self.means[GREY])

    @property
    def fluid(self) -> float:
        """Intensity of cerebrospinal fluid."""
        return float(self.means[FLUID])

    @property
    def leukoaraiosis(self) -> float:
        """Intensity of changed white matter: as grey as cortex."""
        return self.grey


def draw_contrast(rng: Rng) -> Contrast:
    """Draw T1w intensities, from bright to dark: white matter, deep nuclei, cortex, fluid.

    The ratios below cover three real heads and one real patient: fluid is 0.1 to 0.4 of white
    matter, the cortex 0.5 to 0.8.
    """
    priors = TISSUES[:VENTRICLE]
    draws = rng.uniform(-1.5, 1.5, len(priors))
    means = np.array([t.mean + t.mean_spread * draw for t, draw in zip(priors, draws, strict=True)])
    draws = rng.uniform(-1, 1, len(priors))
    pairs = zip(priors, draws, strict=True)
    deviations = np.array([max(1, t.deviation + t.deviation_spread * draw) for t, draw in pairs])
    white = means[WHITE]
    grey, fluid = white * rng.uniform(0.52, 0.80), white * rng.uniform(0.06, 0.36)
    means[GREY], means[FLUID] = grey, fluid
    means[CEREBELLAR_WHITE] = white * rng.uniform(0.92, 1.05)
    means[CEREBELLAR_GREY] = grey * rng.uniform(0.92, 1.05)
    for nucleus, least, most in NUCLEI:
        means[nucleus] = grey + (white - grey) * rng.uniform(least, most)
    means[MENINGES] = fluid * rng.uniform(0.6, 1.6)
    means[AIR] = white * rng.uniform(0, 0.1)
    deviations[FLUID] = min(deviations[FLUID], 0.5 * fluid + 2)
    deviations[MENINGES] = min(deviations[MENINGES], 30)
    means = np.append(means, fluid * rng.uniform(0.85, 1.1)).clip(0)
    return Contrast(means, np.append(deviations, 0.6 * deviations[FLUID]))


NUCLEI = (  # position of a tissue's intensity between cortex (0) and white matter (1)
    (THALAMUS, 0.3, 0.9),
    (PUTAMEN, 0.0, 0.5),
    (PALLIDUM, 0.4, 1.0),
    (DIENCEPHALON, 0.5, 1.0),
    (BRAIN_STEM, 0.6, 1.0),
)
