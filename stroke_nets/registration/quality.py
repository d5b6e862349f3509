"""Is a registration good enough to be passed on?"""

from dataclasses import asdict, dataclass

import numpy as np

from stroke_nets.registration.transform import Transform
from stroke_nets.registration.volume import Array, Volume, dilated, places

LOW_MM, FINE_MM = 6, 3
LEAST_CORRELATION = 0.7
MOST_DISAGREEMENT_MM = 3.0
SCALES = (0.8, 1.4)


@dataclass(frozen=True)
class Quality:
    """What is measured of a registration."""

    correlation: float  # of scan and template at 6 mm, in the brain and a margin around it
    disagreement_mm: float  # mean in the brain, to the nearest that began elsewhere
    least_scale: float
    most_scale: float

    def problems(self) -> list[str]:
        """What is wrong, in words; empty if nothing is."""
        found = []
        if self.correlation < LEAST_CORRELATION:
            found.append(f"correlation with the template {self.correlation:.2f}")
        if self.disagreement_mm > MOST_DISAGREEMENT_MM:
            found.append(f"two registrations {self.disagreement_mm:.1f} mm apart")
        if self.least_scale < SCALES[0] or self.most_scale > SCALES[1]:
            found.append(f"scaled by {self.least_scale:.2f} to {self.most_scale:.2f}")
        return found

    def as_dict(self) -> dict[str, float]:
        """Rounded, for a file."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(brain: Volume, scan: Volume, transform: Transform, others: list[Array]) -> Quality:
    """Measure a registration.

    Args:
        brain: the template, 0 outside of the brain.
        scan: T1w scan, bias-corrected.
        transform: of the registration.
        others: affine maps found from other starts, template's mm to scan's mm.
    """
    low = brain.thinned(LOW_MM)
    mask = dilated(low)
    seen = scan.thinned(LOW_MM).sample(transform.to_scan(places(mask, low.affine)))
    inside = places(dilated(low, 0), low.affine)
    found = Transform(transform.matrix).to_scan(inside)
    apart = [np.linalg.norm(Transform(m).to_scan(inside) - found, axis=0).mean() for m in others]
    scales = np.linalg.svd(transform.matrix[:3, :3], compute_uv=False)
    return Quality(
        correlation=float(np.corrcoef(seen, low.voxels[mask])[0, 1]),
        disagreement_mm=float(min(apart)),
        least_scale=float(1 / scales.max()),
        most_scale=float(1 / scales.min()),
    )


def information(brain: Volume, scan: Volume, matrix: Array) -> float:
    """Mutual information of scan and template, in bits: the higher, the better they fit.

    At 3 mm, where a brain fitted to the scalp is told from one in its place; correlation at 6 mm
    hardly tells them apart when a lesion is large.
    """
    low = brain.thinned(FINE_MM)
    mask = dilated(low)
    seen = scan.thinned(FINE_MM).sample(Transform(matrix).to_scan(places(mask, low.affine)))
    joint = np.histogram2d(low.voxels[mask], seen, bins=32)[0] / mask.sum()
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log2(joint[filled] / alone[filled])).sum())
