"""MSCSA's subset of scans with small lesions (arXiv:2501.15423): 138 of ATLAS v2.0 by volume."""

from collections.abc import Mapping
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

LIMIT = 1000  # voxels, of 1 mm3 in ATLAS


def is_small_in_total(record: Mapping[str, Any], limit: int = LIMIT) -> bool:
    """Whether the lesions of a manifest's record have fewer than ``limit`` voxels in total."""
    return bool(record["lesion_voxels"] < limit)


def is_small_in_parts(mask: NDArray[Any], limit: int = LIMIT) -> bool:
    """Whether no 6-connected lesion of a mask (X, Y, Z) exceeds ``limit`` voxels.

    This is the variant in a comment of the authors' code; unlike the total, it includes the limit
    itself.
    """
    lesions = cc3d.connected_components(mask > 0, connectivity=6)
    return int(np.bincount(lesions.ravel())[1:].max(initial=0)) <= limit
