"""Is a registration good enough to be passed on?

The limits were set on right and wrong maps of real heads, simulated patients and phantoms:
``benchmarks/results/registration.json``, docs/registration.md.
"""

import functools
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.registration.template import nilearn_map
from stroke_nets.registration.volume import Array, Float32, Volume, brain, dilated, resampled
from stroke_nets.scans.contrast import T1W

FINE_MM = 3
DARKEST = 20  # of a canonical scan's 1000: below it there is no tissue
LEAST_INFORMATION, FAIR_INFORMATION = 0.3, 0.4  # bits
LEAST_RESEMBLANCE, FAIR_RESEMBLANCE = 0.4, 0.5
MOST_UNSEEN, SOME_UNSEEN = 0.1, 0.02  # share of the brain
SCALES, MOST_STRETCH = (0.8, 1.4), 1.3
LEAST_CONTRAST = 1.15  # four T1w heads have 1.22 to 1.41, diffusion and ADC 0.80 to 1.09
LEAST_SCALP = 0.15  # three whole T1w heads have 0.42 to 0.57, scans without skull 0.000
SCALP_MM = (4, 20)  # from the brain
PURE = 0.8  # share of a tissue in the template's voxels that stand for it


@dataclass(frozen=True)
class Quality:
    """What is measured of a registration.

    Attributes:
        information: that scan and template share in the brain and 6 mm around it, in bits.
        resemblance: correlation with the template within one half of the brain, the half that has
            the higher one, because a lesion may take most of the other; about -0.8 for inverted
            contrast.
        outside: share of the brain that lies outside the scan's field of view.
        empty: share of the inner brain in which the scan is as dark as air.
        least_scale: smallest of the brain's three scales on the way to the template.
        most_scale: largest of them.
        contrast: white matter's median over grey matter's, where the template has them; above 1 in
            T1w alone.
        scalp: median brightness of what is 4 to 20 mm around the upper brain, over the brain's; 1
            if too little of it is in view.
    """

    information: float
    resemblance: float
    outside: float
    empty: float
    least_scale: float
    most_scale: float
    contrast: float
    scalp: float = 1.0

    def problems(self, contrast: str = T1W) -> list[str]:
        """What is wrong, in words; empty if nothing is.

        Args:
            contrast: the scan's. Diffusion does not resemble the template, which is T1w; the
                information that both share tells whether they fit.
        """
        found = []
        if self.outside > MOST_UNSEEN:
            found.append(f"{self.outside:.0%} of the brain lies outside the field of view")
        elif self.empty > MOST_UNSEEN:
            found.append(f"{self.empty:.0%} of the brain is empty")
        alike = contrast != T1W or abs(self.resemblance) >= LEAST_RESEMBLANCE
        if self.information < LEAST_INFORMATION or not alike:
            found.append(f"no brain is recognised there ({self._fit()})")
        scales = f"{self.least_scale:.2f} to {self.most_scale:.2f}"
        if self.least_scale < SCALES[0] or self.most_scale > SCALES[1]:
            found.append(f"scaled by {scales}")
        elif self.most_scale > MOST_STRETCH * self.least_scale:
            found.append(f"stretched, by {scales}")
        return found

    def warnings(self, contrast: str = T1W) -> list[str]:
        """What is odd but may be right, in words; empty if nothing is."""
        found = []
        if SOME_UNSEEN < max(self.outside, self.empty) <= MOST_UNSEEN:
            share = max(self.outside, self.empty)
            found.append(f"{share:.0%} of the brain is not in view; lesions there are missed")
        tissues = f"white matter is {self.contrast:.2f} times as bright as grey matter"
        is_t1w = self.resemblance >= 0 and self.contrast >= LEAST_CONTRAST
        alike = contrast != T1W or self.resemblance >= FAIR_RESEMBLANCE
        if is_t1w != (contrast == T1W):
            known = "the methods know no other" if contrast == T1W else "the method knows no other"
            found.append(f"its contrast is not {contrast} ({tissues}); {known}")
        elif self.information < FAIR_INFORMATION or not alike:
            fit = f"the scan fits the template only fairly ({self._fit()})"
            found.append(f"{fit}; look at the picture of the registration")
        if self.scalp < LEAST_SCALP and self.contrast >= LEAST_CONTRAST:
            found.append(
                "nothing is seen around the brain: it is skull-stripped, and the published weights "
                "know whole heads alone"
            )
        return found

    def doubtful(self, contrast: str = T1W) -> bool:
        """Whether another pose may fit better."""
        return bool(self.problems(contrast) or replace(self, scalp=1.0).warnings(contrast))

    def score(self) -> float:
        """The higher, the better the scan fits."""
        return self.information * (1 - self.outside)

    def as_dict(self) -> dict[str, float]:
        """Rounded, for a file."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def _fit(self) -> str:
        return f"information {self.information:.2f}, resemblance {self.resemblance:.2f}"


@dataclass(frozen=True)
class Regions:
    """The template at 3 mm and its parts."""

    template: Volume
    smooth: Float32
    around: NDArray[np.bool_]  # the brain and 6 mm around it
    inner: NDArray[np.bool_]  # 6 mm inside the brain's surface
    halves: tuple[NDArray[np.bool_], NDArray[np.bool_]]  # of the inner brain
    white: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    scalp: NDArray[np.bool_]  # and skull, above the brain's centre: no neck, no face


@functools.cache
def regions() -> Regions:
    """The parts by which registrations are measured."""
    template = brain(FINE_MM)
    inner = ndimage.binary_erosion(dilated(template, 0), iterations=2)
    x = template.affine[0, 3] + FINE_MM * np.arange(len(inner))[:, None, None]
    z = template.affine[2, 3] + FINE_MM * np.arange(inner.shape[2])
    near, far = (dilated(template, margin) for margin in SCALP_MM)
    return Regions(
        template=template,
        smooth=ndimage.gaussian_filter(template.voxels, 1.0),
        around=dilated(template),
        inner=inner,
        halves=(inner & (x < 0), inner & (x > 0)),
        white=_tissue("wm"),
        grey=_tissue("gm"),
        scalp=far & ~near & (z > 10),
    )


def _tissue(name: str) -> NDArray[np.bool_]:
    """Where the template is of one tissue."""
    return Volume(*nilearn_map(name)).thinned(FINE_MM).voxels > PURE


def measure(scan: Volume, matrix: Array) -> Quality:
    """Measure a registration.

    Args:
        scan: in canonical form.
        matrix: template's mm to the scan's mm, (4, 4).
    """
    parts, fine = regions(), scan.thinned(FINE_MM)
    there = np.linalg.inv(fine.affine) @ matrix @ parts.template.affine
    shape = parts.template.voxels.shape
    seen = resampled(fine.voxels, there, shape)
    in_view = resampled(np.ones_like(fine.voxels), there, shape) > 0.5
    smooth = ndimage.gaussian_filter(seen, 1.0)
    alike = [
        float(np.corrcoef(smooth[half], parts.smooth[half])[0, 1]) if np.ptp(smooth[half]) else 0
        for half in parts.halves
    ]
    white, grey = (float(np.median(seen[tissue])) for tissue in (parts.white, parts.grey))
    around = seen[parts.scalp & in_view]
    enough = around.size > 0.3 * np.count_nonzero(parts.scalp)
    brightness = float(np.median(seen[parts.inner]))
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return Quality(
        information=_information(parts.template.voxels[parts.around], seen[parts.around]),
        resemblance=max(alike, key=abs),
        outside=float(1 - in_view[parts.template.voxels > 0.05].mean()),
        empty=float((seen[parts.inner] < DARKEST).mean()),
        least_scale=float(1 / scales.max()),
        most_scale=float(1 / scales.min()),
        contrast=white / max(grey, 1.0),
        scalp=float(np.median(around)) / max(brightness, 1.0) if enough else 1.0,
    )


def _information(one: Float32, other: Float32) -> float:
    """Mutual information of two samples, in bits."""
    joint = np.histogram2d(one, other, bins=32)[0] / len(one)
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log2(joint[filled] / alone[filled])).sum())
