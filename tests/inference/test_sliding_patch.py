import gc
import itertools
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stroke_nets.inference.ensemble import EnsembleInferer
from stroke_nets.inference.sliding_patch import PatchInferer, gaussian_profile, tile_starts
from stroke_nets.networks.ensemble import Ensemble

REFERENCE = Path(__file__).parents[1] / "reference" / "mscsa" / "vec_sliding.npz"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv3d(1, 2, 3, padding=1).eval()


def test_starts_and_weights_are_nnunets():
    reference = np.load(REFERENCE)
    for length in (189, 233, 197):
        assert tile_starts(length, 128) == reference[f"steps_{length}"].tolist()
    profile = gaussian_profile(128).numpy()
    # float32 roundings of a filter in the original, of the formula here
    np.testing.assert_allclose(profile, reference["axis_profile"], rtol=1e-6)
    np.testing.assert_allclose(profile[0] ** 3, reference["g000"], rtol=1e-6)
    assert profile.argmax() == 64


def test_one_tile_covers_a_small_volume():
    assert tile_starts(100, 128) == tile_starts(128, 128) == [0]


def test_sweep_is_the_weighted_mean_of_tiles_and_flips(network):
    volume = torch.rand(1, 1, 12, 8, 10)
    found = PatchInferer((8, 8, 8))(volume, network)
    weights = gaussian_profile(8)
    gauss = weights[:, None, None] * weights[:, None] * weights
    total, norm = torch.zeros(1, 2, 12, 8, 10), torch.zeros(12, 8, 10)
    for z in (0, 4):
        for x in (0, 2):
            tile = volume[:, :, z : z + 8, :, x : x + 8]
            probabilities = torch.zeros(1, 2, 8, 8, 8)
            for bits in range(8):
                axes = [axis + 2 for axis in range(3) if bits >> axis & 1]
                probabilities += network(tile.flip(axes)).softmax(1).flip(axes) / 8
            total[:, :, z : z + 8, :, x : x + 8] += probabilities * gauss
            norm[z : z + 8, :, x : x + 8] += gauss
    torch.testing.assert_close(found, total / norm, rtol=1e-5, atol=1e-6)  # order of float32 sums


def plain_sweep(volume, network, patch, classes=2):
    """Every tile and flip by itself, with whole tensors of weights."""
    weights = gaussian_profile(patch)
    gauss = weights[:, None, None] * weights[:, None] * weights
    shape = volume.shape[2:]
    total, sides = torch.zeros(1, classes, *shape), [torch.zeros(n) for n in shape]
    starts = [tile_starts(n, patch) for n in shape]
    for side, firsts in zip(sides, starts, strict=True):
        for first in firsts:
            side[first : first + patch] += weights
    for first in itertools.product(*starts):
        box = (..., *(slice(f, f + patch) for f in first))
        mean = torch.zeros(1, classes, patch, patch, patch)
        for n in range(4):
            for axes in itertools.combinations((2, 3, 4), n):
                mean += network(volume[box].flip(axes)).softmax(1).flip(axes)
        total[box] += mean / 8 * gauss
    return total / (sides[0][:, None, None] * sides[1][:, None] * sides[2])


@pytest.mark.parametrize("head", [slice(0, 19), slice(12, 19)], ids=["everywhere", "partly"])
def test_sweep_is_the_plain_way_to_the_bit(network, head):
    volume = torch.full((1, 1, 19, 8, 11), 0.25)
    volume[:, :, head] = torch.rand(1, 1, 19, 8, 11)[:, :, head]
    calls = []

    def counting(tile):
        calls.append(tile)
        return network(tile)

    found = PatchInferer((8, 8, 8))(volume, counting)
    assert torch.equal(found, plain_sweep(volume, network, 8))
    # 4 x 1 x 2 tiles of 8 flips; in the last case the four that end above plane 12 share one
    assert len(calls) == 8 * (8 if head.start == 0 else 5)


def test_flips_are_given_at_once(network):
    volume, sizes = torch.rand(1, 1, 8, 9, 8), []

    def counting(batch):
        sizes.append(len(batch))
        return network(batch)

    found = PatchInferer((8, 8, 8), flips_at_once=3)(volume, counting)
    assert sizes == [3, 3, 2] * 2
    torch.testing.assert_close(found, plain_sweep(volume, network, 8))  # order of float32 sums


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors hold at once, beside one that was there before."""

    def __init__(self, given):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, {given.untyped_storage()._cdata}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage):
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())

    def free(self, key, size):
        self.known.discard(key)
        self.live -= size


@pytest.mark.parametrize("empty_planes", [0, 70])
def test_peak_memory_is_twice_the_probabilities(empty_planes):
    volume = torch.rand(1, 1, 95, 117, 99)  # ATLAS v2.0 and the paper's tiles, at half the size
    volume[:, :, :empty_planes] = 0
    sweep = PatchInferer((64, 64, 64), flips=False)
    gc.collect()
    with torch.no_grad(), LiveBytes(volume) as memory:
        found = sweep(volume, lambda tile: torch.cat([tile, -tile], 1))
    assert memory.peak <= 2 * found.untyped_storage().nbytes()
    assert memory.peak > found.untyped_storage().nbytes()  # it was counted


def test_small_volume_is_padded_and_keeps_its_affine(network):
    volume = MetaTensor(torch.rand(2, 1, 5, 9, 8), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    found = PatchInferer((8, 8, 8), flips=False)(volume, network)
    assert found.shape == (2, 2, 5, 9, 8)
    torch.testing.assert_close(found.affine, volume.affine)
    padded = nn.functional.pad(volume.as_tensor(), (0, 0, 0, 0, 1, 2))
    whole = PatchInferer((8, 8, 8), flips=False)(padded, network)
    torch.testing.assert_close(found.as_tensor(), whole[:, :, 1:6])


def test_probabilities_add_up(network):
    found = PatchInferer((8, 8, 8))(torch.rand(1, 1, 17, 9, 13), network)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 17, 9, 13))


class Scaled(nn.Module):
    """Logits +-scale x; counts how many of its kind are alive."""

    alive = 0

    def __init__(self, scale):
        super().__init__()
        Scaled.alive += 1
        self.scale = scale

    def __del__(self):
        Scaled.alive -= 1

    def forward(self, x):
        assert Scaled.alive == 1, "two networks in memory"
        return torch.cat([self.scale * x, -self.scale * x], 1)


def test_ensemble_is_the_mean_and_holds_one_network():
    members = [partial(Scaled, scale) for scale in (0.5, -1.0, 2.0)]
    volume, sweep, ensemble = torch.rand(1, 1, 8, 9, 8), PatchInferer((8, 8, 8)), Ensemble(members)
    expected = torch.stack([sweep(volume, make()) for make in members]).mean(0)
    # float32 roundings of two orders of summing
    torch.testing.assert_close(EnsembleInferer(sweep)(volume, ensemble), expected)
    torch.testing.assert_close(sweep(volume, ensemble), expected)
    assert not ensemble.state_dict()
