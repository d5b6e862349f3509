import pytest

from stroke_nets.datasets.folds import size_balanced, subject_folds
from stroke_nets.errors import UsageError


def test_each_five_in_order_of_size_go_to_five_folds():
    volumes = [7, 3, 9, 1, 5, 8, 2, 6, 4, 10]
    folds = size_balanced(volumes, 5, seed=1)
    small = [f for v, f in zip(volumes, folds, strict=True) if v <= 5]
    assert sorted(small) == sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert folds == size_balanced(volumes, 5, seed=1)


def test_a_remainder_is_dealt_too():
    assert len(set(size_balanced([1, 2, 3], 5, seed=0))) == 3


def records(volumes):
    return [{"subject": s, "lesion_voxels": v} for s, v in volumes]


def test_subjects_keep_their_fold_in_any_order():
    sessions = records([("b", 5), ("a", 5), ("d", 5), ("c", 2), ("c", 3), ("e", 9), ("f", 8)])
    folds = subject_folds(sessions, 2, seed=3)
    assert folds == subject_folds(sessions[::-1], 2, seed=3)
    assert list(folds) == list("abcdef")
    for pair in ("ab", "cd", "ef"):  # of equal size or next to each other
        assert {folds[s] for s in pair} == {0, 1}


def test_the_seed_decides():
    cases = records([(str(n), n) for n in range(50)])
    assert subject_folds(cases, 5, seed=0) == subject_folds(cases, 5, seed=0)
    assert subject_folds(cases, 5, seed=0) != subject_folds(cases, 5, seed=1)


def test_the_same_folds_for_everyone():
    # What this seed gave when the test was written, with NumPy 2.4; it must never change.
    folds = subject_folds(records([(str(n), n) for n in range(10)]), 5, seed=0)
    assert list(folds.values()) == [2, 4, 3, 0, 1, 4, 1, 2, 0, 3]


@pytest.mark.parametrize("folds", [0, 3])
def test_refuses_what_cannot_be(folds):
    with pytest.raises(UsageError, match=f"--folds {folds}: there are 2 subjects"):
        subject_folds(records([("a", 1), ("b", 1)]), folds, seed=0)
