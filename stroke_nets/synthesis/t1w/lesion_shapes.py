"""Lesion shapes: a deformed real mask or a random blob."""

import numpy as np
import torch
from torch import Tensor

from stroke_nets.synthesis.t1w.anatomy import Head
from stroke_nets.synthesis.t1w.fields import Bend, Rng, random_map, resample, smooth_field
from stroke_nets.synthesis.t1w.sources import Sources

VOXEL_ML = 0.008  # 2 mm
LARGE_ML = 20.0  # real chronic lesions are large, so many patients get such a mask
SMALLEST_ML, SMALL_ML, LARGEST_ML = 0.05, 12.0, 250.0  # of random blobs
CENTRE = 0.6  # fraction of tissue in the voxel where a lesion begins
LACUNE_ML = 1.8  # a sphere of 15 mm, the largest lacune (Wardlaw et al., Lancet Neurol 2013)


def draw_shape(
    rng: Rng, sources: Sources, head: Head, plain: bool, subcortical: float = 0.0
) -> Tensor:
    """The fraction of each voxel that one lesion covers, (X, Y, Z).

    Args:
        rng: random generator, for the choice and its deformation.
        sources: provides the masks; without masks, all lesions are random blobs.
        head: the healthy head.
        plain: use a large real mask.
        subcortical: share of random blobs as small as lacunes that lie where lacunes do.
    """
    kind, large = rng.random(), np.flatnonzero(sources.mask_ml > LARGE_ML)
    if not len(sources.masks) or (not plain and kind < 0.4):
        return draw_small(rng, head, SMALL_ML if kind < 0.3 else LARGEST_ML, subcortical)
    chosen = large if len(large) and (plain or kind >= 0.7) else np.arange(len(sources.masks))
    mask = sources.masks[chosen[rng.integers(len(chosen))]]
    bend = Bend(0.2, 0.2, 3, ((9, rng.uniform(0, 1.4)), (4, rng.uniform(0, 0.6))))
    source = random_map(rng, bend, rng.random() < 0.5, mask.shape)
    share = torch.from_numpy(mask.astype(np.float32)) * (1 / 255)
    return resample(share[None], source, "zeros")[0]


def draw_small(rng: Rng, head: Head, most: float = SMALL_ML, subcortical: float = 0.0) -> Tensor:
    """A blob of any volume up to ``most`` ml, small ones as often as large ones; (X, Y, Z).

    Of those as small as lacunes, the share ``subcortical`` begins away from sulci, in white matter,
    deep nuclei, brainstem or cerebellum. In the cortex, T1w hardly tells them from a sulcus.
    """
    where = head.tissue() if rng.random() < 0.6 else head.tissue() * head.white
    ml = np.exp(rng.uniform(np.log(SMALLEST_ML), np.log(most)))
    if subcortical and ml < LACUNE_ML and rng.random() < subcortical:
        away = head.subcortical()
        where = away if (away > CENTRE).any() else where
    return draw_blob(rng, where, float(ml) / VOXEL_ML)


def draw_blob(rng: Rng, where: Tensor, voxels: float) -> Tensor:
    """A rough ellipsoid of about ``voxels`` voxels whose centre lies in ``where``; (X, Y, Z)."""
    shape = where.shape
    places = np.flatnonzero(where.numpy().ravel() > CENTRE)
    centre = np.unravel_index(places[rng.integers(len(places))], shape)
    radius = (voxels * 3 / 4 / np.pi) ** (1 / 3)
    lengths = np.exp(rng.normal(0, 0.35, 3))
    lengths /= lengths.prod() ** (1 / 3)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    reach = int(np.ceil(3 * radius)) + 3
    box = tuple(
        slice(max(0, int(c) - reach), min(n, int(c) + reach + 1))
        for c, n in zip(centre, shape, strict=True)
    )
    axes = [
        np.arange(side.start, side.stop) - c + rng.uniform(-0.5, 0.5)
        for side, c in zip(box, centre, strict=True)
    ]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ turn / lengths
    distance = np.sqrt((offsets**2).sum(-1))
    rough = smooth_field(rng, max(1.6, 0.7 * radius), distance.shape).numpy()
    rough = rough * radius * rng.uniform(0.1, 0.45)
    steepness = rng.uniform(2, 4) / min(1.0, max(0.5, radius / 2))
    inside = 1 / (1 + np.exp(-(radius - distance - rough) * steepness))
    blob = torch.zeros(shape)
    blob[box] = torch.from_numpy(inside.astype(np.float32))
    return blob
