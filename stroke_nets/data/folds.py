"""Cross-validation folds balanced by lesion size."""

from collections.abc import Sequence

import numpy as np


def size_balanced(volumes: Sequence[float], folds: int, seed: int) -> list[int]:
    """Deal cases into folds of alike lesion sizes.

    Cases are sorted by volume and cut into consecutive groups of ``folds``; within each group the
    fold labels are shuffled (an equivalent of the unpublished recipe behind the folds of
    MSCSA, arXiv:2501.15423).

    Args:
        volumes: lesion volume of each case, any unit.
        folds: number of folds.
        seed: seed of the shuffles.

    Returns:
        The fold, 0 to ``folds - 1``, of each case.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(np.asarray(volumes), kind="stable")
    labels = np.concatenate(
        [rng.permutation(folds)[: len(order) - i] for i in range(0, len(order), folds)]
    )
    result = np.empty(len(order), dtype=int)
    result[order] = labels
    return [int(fold) for fold in result]
