"""The browser page's steps and predict's have one specification: web/vectors.json.

Each vector is an input and what predict's own code makes of it. This test computes it anew; web/src
is held to it by web/vectors.test.ts (make test-web). After a change of predict on purpose:
``python tests/web/test_vectors.py`` writes the file.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.layers.convutils import gaussian_1d

from stroke_nets.inference.sliding_patch import PatchInferer, gaussian_profile, tile_starts
from stroke_nets.registration.canonical import canonical
from stroke_nets.registration.volume import Volume, resampled
from stroke_nets.transforms.brain_box import SMOOTHING_MM
from stroke_nets.transforms.lesion_mask import LesionMaskd

FILE = Path(__file__).parents[2] / "web" / "vectors.json"


def numbers(array):
    """Values with the first axis fastest, as the page holds volumes; seven digits, as float32."""
    return [float(f"{value:.7g}") for value in np.asarray(array).ravel(order="F").tolist()]


def whole(values):
    return [int(value) for value in values]


def vectors():
    rng = np.random.default_rng(27)
    small = rng.normal(100, 30, (9, 8, 7)).astype(np.float32)
    there = np.array([[0.9, 0.2, -0.1, 0.4], [-0.15, 1.1, 0.1, 0.2], [0.1, -0.1, 0.95, 0.3]])
    there = np.vstack([there, [0, 0, 0, 1]])
    given = {"data": numbers(small), "shape": list(small.shape), "there": numbers(there.T)}
    out = (7, 8, 6)
    found = {
        order: given | {"out": list(out), "expected": numbers(resampled(small, there, out, number))}
        for order, number in {"linear": 1, "cubic": 3}.items()
    }
    fine = Volume(small, np.diag([0.5, 0.6, 1.2, 1]))
    thin = fine.thinned(1.0)
    found["thinned"] = {
        "data": numbers(small),
        "shape": list(small.shape),
        "affine": numbers(fine.affine.T),
        "size": 1.0,
        "out": list(thin.voxels.shape),
        "expected": numbers(thin.voxels),
        "expected_affine": numbers(thin.affine.T),
    }
    x, y, z = np.indices((26, 28, 24))
    away = np.sqrt((x - 12) ** 2 + ((y - 14) / 1.2) ** 2 + (z - 12) ** 2)
    head = (20 + 300 * (away < 9) * (1 + 0.1 * np.sin(x + y))).round() + rng.integers(0, 9, x.shape)
    affine = np.diag([8.0, 8, 8, 1]) + np.outer([1, 1, 1, 0], [0, 0, 0, -90])
    form = canonical(Volume(head.astype(np.float32), affine))
    found["canonical"] = {
        "data": whole(numbers(head)),
        "shape": list(head.shape),
        "affine": numbers(affine.T),
        "air": form.air,
        "unit": form.unit,
        "centre": numbers(form.centre),
        "out": list(form.volume.voxels.shape),
        "expected": whole(numbers(form.volume.voxels)),
        "expected_affine": numbers(form.volume.affine.T),
    }
    cases = [(80, 80, 0.5), (50, 64, 0.5), (113, 64, 0.5), (200, 64, 0.25), (65, 64, 1.0)]
    found["patches"] = [
        {"length": n, "patch": p, "step": s, "expected": tile_starts(n, p, s)} for n, p, s in cases
    ]
    found["smoothing"] = {
        "sigma": SMOOTHING_MM,
        "expected": numbers(gaussian_1d(torch.tensor(SMOOTHING_MM), 4.0, "erf"))[2:],
    }
    volume = torch.tensor(rng.normal(0, 1, (1, 1, 7, 5, 6)), dtype=torch.float32)
    inferer = PatchInferer((4, 4, 4), step=0.5, flips=True)
    swept = inferer(volume, network)[0, 1]
    found["sweep"] = {
        "data": numbers(volume[0, 0].permute(2, 1, 0)),  # the last axis fastest
        "shape": list(volume.shape[2:]),
        "patch": [4, 4, 4],
        "step": 0.5,
        "flips": [[axis - 2 for axis in axes] for axes in inferer.flips],
        "profile": numbers(gaussian_profile(4)),
        "expected": numbers(swept.permute(2, 1, 0)),
    }
    probability = rng.random((6, 5, 7)).astype(np.float32)
    mask = LesionMaskd("pred", threshold=0.6, minimum_ml=0.05)(
        {"pred": meta(probability, np.diag([2.0, 2, 2, 1]))}
    )["pred"]
    found["lesions"] = {
        "data": numbers(probability),
        "shape": list(probability.shape),
        "affine": numbers(np.diag([2.0, 2, 2, 1])),
        "threshold": 0.6,
        "minimum_ml": 0.05,
        "expected": whole(numbers(mask[0])),
    }
    return found


def network(tile):
    """Two classes whose logits differ by the voxel and its neighbour along the last axis."""
    return torch.cat([torch.zeros_like(tile), tile + 0.5 * tile.roll(1, -1)], 1)


def meta(probability, affine):
    from monai.data import MetaTensor

    return MetaTensor(torch.from_numpy(probability)[None], affine=torch.from_numpy(affine))


def leaves(tree, place=""):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{place}.{key}")
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{place}.{number}")
    else:
        yield place, tree


def test_the_vectors_are_what_predict_computes():
    written, computed = (dict(leaves(v)) for v in (json.loads(FILE.read_text()), vectors()))
    assert written.keys() == computed.keys()
    for place, value in computed.items():
        # seven digits are written; sums of float32 differ by a few of the last between processors
        same = value if place.endswith("flips") else pytest.approx(value, rel=1e-5, abs=1e-5)
        assert written[place] == same, place


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(v)}" for name, v in vectors().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
