"""Where strokes occur: approximate territories of the brain's arteries.

Each territory is a Gaussian around a point in MNI space, mirrored left to right; a voxel belongs to
the territory that is nearest in units of its widths. Centres, widths and shares are ours and
deliberately coarse: they place lesions where strokes are common and are not an atlas.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stroke_nets.registration.template import Array

LEFT, RIGHT = 10, 20  # a voxel of territory k has the label LEFT + k or RIGHT + k


@dataclass(frozen=True)
class Territory:
    """The region that one artery supplies, on the right side."""

    name: str
    centre: tuple[float, float, float]  # mm, MNI
    width: tuple[float, float, float]  # mm
    share: float  # of all lesions


TERRITORIES = (
    Territory("middle cerebral, cortex", (48, -10, 15), (18, 40, 30), 0.45),
    Territory("middle cerebral, deep", (24, 2, 8), (9, 15, 12), 0.22),
    Territory("anterior cerebral", (8, 20, 40), (10, 45, 35), 0.06),
    Territory("posterior cerebral", (18, -75, 0), (18, 28, 22), 0.09),
    Territory("thalamus", (11, -19, 8), (7, 9, 7), 0.06),
    Territory("cerebellum", (25, -62, -38), (20, 18, 16), 0.07),
    Territory("brainstem", (5, -28, -32), (7, 8, 16), 0.05),
)


def label_territories(place: Array) -> NDArray[np.uint8]:
    """The territory label of each point.

    Args:
        place: MNI coordinates in mm, (3, N).

    Returns:
        ``LEFT + k`` or ``RIGHT + k`` of the nearest territory k, (N,).
    """
    best = np.full(place.shape[1], np.inf)
    label = np.zeros(place.shape[1], np.uint8)
    folded = np.stack([np.abs(place[0]), place[1], place[2]])
    for number, territory in enumerate(TERRITORIES):
        centre, width = np.array(territory.centre)[:, None], np.array(territory.width)[:, None]
        distance = (((folded - centre) / width) ** 2).sum(axis=0)
        label[distance < best] = number
        best = np.minimum(best, distance)
    return label + np.where(place[0] < 0, LEFT, RIGHT).astype(np.uint8)


def draw_territory(rng: np.random.Generator) -> int:
    """Draw the number of a territory in proportion to its share."""
    return int(rng.choice(len(TERRITORIES), p=[t.share for t in TERRITORIES]))
