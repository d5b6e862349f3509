"""Cross-validation folds balanced by lesion size."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stroke_nets.errors import UsageError


def size_balanced(volumes: Sequence[float], folds: int, seed: int) -> list[int]:
    """Assign cases to folds with similar lesion sizes.

    Cases are sorted by volume and split into consecutive groups of ``folds``; within each group the
    fold labels are shuffled. This is equivalent to the unpublished recipe for MSCSA's folds
    (arXiv:2501.15423).

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


def subject_folds(records: Sequence[Mapping[str, Any]], folds: int, seed: int) -> dict[str, int]:
    """Assign subjects to folds with similar lesion sizes; a subject's sessions share its fold.

    Subjects with equal volumes are sorted by id, so the order of ``records`` does not matter.

    Args:
        records: records of a manifest.
        folds: number of folds.
        seed: seed of the shuffles.

    Returns:
        The fold of each subject.

    Raises:
        UsageError: ``folds`` is not between 1 and the number of subjects.
    """
    subjects = sorted({r["subject"] for r in records})
    if not 1 <= folds <= len(subjects):
        count = len(subjects)
        raise UsageError(f"--folds {folds}: there are {count} subjects; ask for 1 to {count}")
    volumes = [sum(r["lesion_voxels"] for r in records if r["subject"] == s) for s in subjects]
    return dict(zip(subjects, size_balanced(volumes, folds, seed), strict=True))


def grouped_split(groups: Sequence[str], test: int, seed: int) -> list[str]:
    """Split cases into training and test, whole groups at a time.

    Groups are visited in random order, and each goes to the test split if it still fits. If some
    groups have a single case, the test split has exactly the requested size.

    Args:
        groups: the group of each case, such as its subject.
        test: number of test cases.
        seed: seed of the order.

    Returns:
        ``train`` or ``test`` for each case.
    """
    sizes = Counter(groups)
    drawn: set[str] = set()
    for group in np.random.default_rng(seed).permutation(sorted(sizes)):
        if sizes[str(group)] <= test:
            drawn.add(str(group))
            test -= sizes[str(group)]
    return ["test" if group in drawn else "train" for group in groups]
