"""What changed between two masks of one brain: lesions that are new, gone, grown or smaller."""

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from stroke_nets.evaluation.lesions import CONNECTIVITY

Mask = NDArray[np.bool_]


def change(before: Mask, after: Mask, voxel_ml: float) -> dict[str, Any]:
    """Compare two masks on one grid, lesion by lesion.

    A lesion is new if no voxel of it was lesion before, and gone if none is afterwards. What other
    lesions gained and lost is counted by voxels, so the error of a registration counts as well.

    Args:
        before: (X, Y, Z).
        after: of the same shape.
        voxel_ml: volume of a voxel.

    Returns:
        ``before_ml``, ``after_ml``; ``new`` and ``gone``, numbers of lesions, with ``new_ml`` and
        ``gone_ml``; ``gained_ml`` and ``lost_ml`` of the lesions that were there both times.
    """
    new, is_new = _apart(after, before)
    gone, is_gone = _apart(before, after)
    volumes = {
        "before_ml": before,
        "after_ml": after,
        "new_ml": is_new,
        "gone_ml": is_gone,
        "gained_ml": after & ~before & ~is_new,
        "lost_ml": before & ~after & ~is_gone,
    }
    millilitres = {name: round(float(mask.sum()) * voxel_ml, 4) for name, mask in volumes.items()}
    return millilitres | {"new": new, "gone": gone}


def _apart(mask: Mask, other: Mask) -> tuple[int, Mask]:
    """The number of a mask's lesions that do not touch the other mask, and their voxels."""
    lesions = cc3d.connected_components(mask, connectivity=CONNECTIVITY)
    alone = np.ones(int(lesions.max()) + 1, bool)
    alone[np.unique(lesions[other])] = False
    alone[0] = False
    return int(alone.sum()), alone[lesions]
