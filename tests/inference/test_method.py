import pytest
import torch

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.method import NOBODY, Method, read_config
from stroke_nets.inference.progress import Steps
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.inference.weights import Weights, choose
from stroke_nets.scans.reader import Scan

CPU = torch.device("cpu")


def weights_of(runs, name):
    return choose([name], [runs[name]])[0]


def test_flips_are_of_whole_volumes(runs, simulated):
    scan = Scan(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    weights = weights_of(runs, "agmr_net")
    plain = Method(weights, CPU, register=False).find(scan)
    assert plain.deviation is None
    method = Method(weights, CPU, register=False, tta=True)
    image = method.preprocessing({"image": scan})["image"]
    with torch.inference_mode():
        one, other = method._samples(image, NOBODY)
    torch.testing.assert_close(method._inverted(image, one), plain.probability)
    both = method.find(scan)
    torch.testing.assert_close(both.probability, method._inverted(image, (one + other) / 2))
    # Two samples: the deviation is half of their difference.
    half = method._inverted(image, (one - other).abs() / 2)
    torch.testing.assert_close(both.deviation, half, atol=1e-6, rtol=1e-4)
    method.sweep = lambda volume, network: volume  # flips commute with it
    torch.testing.assert_close(*method._samples(image, NOBODY))


def test_fast_and_tta_leave_the_patches_flips_out(runs):
    weights = weights_of(runs, "mscsa_default")
    usual, fast, tta = (Method(weights, CPU, **how) for how in ({}, {"fast": True}, {"tta": True}))
    assert isinstance(usual.inferer, PatchInferer)
    steps = [(len(m.flips), len(m.inferer.flips), m.inferer.step) for m in (usual, fast, tta)]
    assert steps == [(1, 8, 0.5), (1, 1, 0.75), (8, 1, 0.5)]
    # 128 / 32: starts 16 apart make 7, starts 24 apart 5.
    assert [m.calls((16, 32, 128)) for m in (usual, fast, tta)] == [7 * 8, 5, 7 * 8]
    with pytest.raises(UsageError, match="--fast: agmr_net sees each slice once"):
        Method(weights_of(runs, "agmr_net"), CPU, fast=True)


def test_tiles_are_told_as_they_are_done(runs, simulated):
    scan = Scan(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    method = Method(weights_of(runs, "agmr_net"), CPU, register=False, tta=True)
    seen: list[tuple[int, int]] = []
    steps = Steps(1, quiet=True)
    steps.tile = lambda done, total: seen.append((done, total))
    method.find(scan, steps)
    # 12 slices, 4 at once, 2 flips
    assert seen == [(number, 6) for number in range(1, 7)]
    assert method.calls((50, 59, 12)) == 6


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_probabilities_that_are_not_finite_are_refused(damage, runs, simulated):
    method = Method(weights_of(runs, "mscsa_default"), CPU, register=False)
    torch.nn.init.constant_(next(method.network.parameters()), damage)
    scan = Scan(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    with pytest.raises(DataError, match=r"sub-1_T1w.nii.gz: .*not finite"):
        method.find(scan)


def test_a_bundle_without_one_network_says_what_to_do():
    bundle = find_bundle("mscsa_ensemble")
    with pytest.raises(UsageError, match=r"no single network .*; name the members of an ensemble"):
        read_config(Weights(bundle, bundle / "none.pt"))
