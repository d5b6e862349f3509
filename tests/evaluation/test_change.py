import numpy as np

from stroke_nets.evaluation.change import change


def mask(*boxes):
    found = np.zeros((20, 20, 20), bool)
    for x, side in boxes:
        found[x : x + side, :side, :side] = True
    return found


def test_lesions_are_new_gone_grown_or_smaller():
    before = mask((0, 2), (5, 3), (12, 2))
    after = mask((5, 2), (12, 3), (17, 2))
    assert change(before, after, 0.5) == {
        "before_ml": (8 + 27 + 8) / 2,
        "after_ml": (8 + 27 + 8) / 2,
        "new_ml": 4.0,
        "gone_ml": 4.0,
        "gained_ml": (27 - 8) / 2,
        "lost_ml": (27 - 8) / 2,
        "new": 1,
        "gone": 1,
    }


def test_empty_masks_have_no_change():
    nothing = change(mask(), mask(), 1.0)
    assert set(nothing.values()) == {0}
