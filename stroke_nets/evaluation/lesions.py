"""Lesion-wise metrics on connected components.

Source for F1, precision and recall: MSCSA's Table 1 and its public evaluation code. A true lesion
is detected if one predicted voxel overlaps it; a predicted lesion that overlaps none is false.
F1 is therefore not the harmonic mean of this precision and recall.
"""

from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Connectivity = Literal[6, 18, 26]
CONNECTIVITY: Connectivity = 6  # voxels of a lesion share faces
NAN = float("nan")

# Volume bins in ml, of a lesion or of all lesions of a patient: [0, 0.1), [0.1, 1), ...
EDGES_ML = (0.1, 1.0, 10.0, 100.0)
BINS = ("below_0.1_ml", "0.1_to_1_ml", "1_to_10_ml", "10_to_100_ml", "100_ml_and_above")


# Size classes in voxels, as in MSL (Shang et al., arXiv:2408.02929).
EDGES_VOXELS = (100, 1000, 10000)
SIZES = ("below_100", "100_to_999", "1000_to_9999", "10000_and_above")


def volume_bin(ml: float) -> str:
    """The bin of a volume in ml."""
    return BINS[int(np.digitize(ml, EDGES_ML))]


def lesion_figures(
    predicted: Mask, true: Mask, voxel_ml: float, connectivity: Connectivity
) -> dict[str, float | int]:
    """Count, match and measure the lesions of two masks.

    Values for empty masks::

        prediction  truth   lesion_f1  lesion_precision  lesion_recall
        empty       lesion  0          1                 0
        voxels      empty   0          0                 1
        empty       empty   1          1                 1

    Args:
        predicted: mask of shape (X, Y, Z).
        true: mask of the same shape.
        voxel_ml: volume of a voxel.
        connectivity: 6, 18 or 26 neighbours in a connected component.

    Returns:
        lesion_f1, lesion_precision, lesion_recall, lesions_truth, lesions_predicted,
        lesion_count_difference (absolute), largest_lesion_voxels (of the truth), and for each of
        `BINS` the number of true lesions (`lesions_<bin>`) and their mean Dice
        (`lesion_dice_<bin>`; nan without lesions). For each of `SIZES` also
        lesion_f1_<size>, lesion_precision_<size> and lesion_recall_<size>, where true and
        predicted lesions count in the class of their own size; 1 for an empty class.

    Raises:
        ValueError: the connectivity is unknown.
    """
    labels_true, n_true = _components(true, connectivity)
    labels_predicted, n_predicted = _components(predicted, connectivity)
    sizes = np.bincount(labels_true[true], minlength=n_true + 1)[1:]
    sizes_predicted = np.bincount(labels_predicted[predicted], minlength=n_predicted + 1)[1:]
    both = predicted & true
    overlaps = _overlaps(labels_true[both], labels_predicted[both], n_predicted)
    found, matched = len(np.unique(overlaps[0])), len(np.unique(overlaps[1]))
    missed, false = n_true - found, n_predicted - matched
    return {
        "lesion_f1": found / (found + (missed + false) / 2) if n_true + n_predicted else 1.0,
        "lesion_precision": matched / n_predicted if n_predicted else 1.0,
        "lesion_recall": found / n_true if n_true else 1.0,
        "lesions_truth": n_true,
        "lesions_predicted": n_predicted,
        "lesion_count_difference": abs(n_true - n_predicted),
        "largest_lesion_voxels": int(sizes.max(initial=0)),
        **_by_bin(sizes * voxel_ml, _dice_of_each(overlaps, sizes, sizes_predicted)),
        **_by_size(sizes, sizes_predicted, overlaps),
    }


def _by_size(
    sizes: NDArray[np.int64], sizes_predicted: NDArray[np.int64], overlaps: NDArray[np.int64]
) -> dict[str, float]:
    """F1, precision and recall of each size class, as in the authors' `scoring.py`."""
    of_lesion, of_guess = (np.digitize(s, EDGES_VOXELS) for s in (sizes, sizes_predicted))
    found, matched = np.unique(overlaps[0]), np.unique(overlaps[1])
    figures: dict[str, float] = {}
    for index, name in enumerate(SIZES):
        n_true, n_predicted = int((of_lesion == index).sum()), int((of_guess == index).sum())
        hits, right = (
            int((of_lesion[found] == index).sum()),
            int((of_guess[matched] == index).sum()),
        )
        wrong = n_true - hits + n_predicted - right
        figures[f"lesion_f1_{name}"] = hits / (hits + wrong / 2) if hits + wrong else 1.0
        figures[f"lesion_precision_{name}"] = right / n_predicted if n_predicted else 1.0
        figures[f"lesion_recall_{name}"] = hits / n_true if n_true else 1.0
    return figures


def _components(mask: Mask, connectivity: Connectivity) -> tuple[NDArray[np.unsignedinteger], int]:
    """Labels 1, 2, ... of the connected components, and their number."""
    labels, count = cc3d.connected_components(mask, connectivity=connectivity, return_N=True)
    return labels, int(count)


def _overlaps(
    lesions: NDArray[np.unsignedinteger], guesses: NDArray[np.unsignedinteger], n_guesses: int
) -> NDArray[np.int64]:
    """Overlapping pairs of true and predicted lesions, and their numbers of shared voxels.

    Args:
        lesions: label of the true lesion at each voxel in both masks.
        guesses: label of the predicted lesion at the same voxels.
        n_guesses: the number of predicted lesions.

    Returns:
        Zero-based indices of true and predicted lesion, and shared voxels: shape (3, pairs).
    """
    codes = (lesions.astype(np.int64) - 1) * n_guesses + (guesses.astype(np.int64) - 1)
    pairs, counts = np.unique(codes, return_counts=True)
    return np.stack([pairs // max(n_guesses, 1), pairs % max(n_guesses, 1), counts])


def _dice_of_each(
    overlaps: NDArray[np.int64], sizes: NDArray[np.int64], sizes_predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Dice of each true lesion with the union of all predicted lesions that overlap it."""
    lesion, guess, shared = overlaps
    overlap = np.bincount(lesion, shared, minlength=len(sizes))
    against = np.bincount(lesion, sizes_predicted[guess], minlength=len(sizes))
    return np.asarray(2 * overlap / (sizes + against), dtype=np.float64)


def _by_bin(ml: NDArray[np.floating], dice: NDArray[np.float64]) -> dict[str, float | int]:
    """Number and mean Dice of the true lesions in each volume bin."""
    figures: dict[str, float | int] = {}
    of_lesion = np.digitize(ml, EDGES_ML)
    for index, name in enumerate(BINS):
        chosen = dice[of_lesion == index]
        figures[f"lesions_{name}"] = len(chosen)
        figures[f"lesion_dice_{name}"] = float(chosen.mean()) if len(chosen) else NAN
    return figures
