import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.errors import UsageError
from stroke_nets.inference.method import Method, read_config
from stroke_nets.inference.pipeline import segment
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.inference.weights import Weights, choose

CPU = torch.device("cpu")


def weights_of(runs, name):
    return choose([name], [runs[name]])[0]


@pytest.mark.parametrize("name", ["agmr_net", "mscsa_default"])
def test_masks_are_those_of_the_bundles_own_inference(name, runs, simulated):
    """The bundle's preprocessing, inferer and postprocessing, down to its threshold."""
    scan = next(simulated.glob("sub-1/**/*_T1w.nii.gz"))
    method = Method(weights_of(runs, name), CPU)
    (sample,) = method.samples(scan)
    config = read_config(method.weights)
    config["postprocessing"]["transforms"].pop()  # does not save
    parser = ConfigParser(config)
    data = parser.get_parsed_content("preprocessing")({"image": str(scan)})
    inferer = parser.get_parsed_content("inferer")
    with torch.inference_mode():
        data["pred"] = inferer(data["image"][None], method.network)[0]
        mask = parser.get_parsed_content("postprocessing")(data)["pred"]
    assert mask.shape[1:] == sample.shape == (50, 59, 12)
    np.testing.assert_array_equal(mask[0].numpy(), sample.numpy() >= method.threshold)


def test_flips_are_of_whole_volumes(runs, simulated):
    scan = next(simulated.glob("sub-1/**/*_T1w.nii.gz"))
    method = Method(weights_of(runs, "agmr_net"), CPU, tta=True)
    plain, flipped = method.samples(scan)
    mean, deviation = segment(scan, [method])
    torch.testing.assert_close(mean, (plain + flipped) / 2)
    assert deviation is not None
    # Two samples: the deviation is half of their difference.
    torch.testing.assert_close(deviation, (plain - flipped).abs() / 2, atol=1e-6, rtol=1e-4)
    method.network = lambda stacks: stacks[:, 2:3]  # slice i itself: flips commute with it
    torch.testing.assert_close(*method.samples(scan), atol=1e-4, rtol=1e-4)  # of trilinear weights


def test_fast_and_tta_leave_the_patches_flips_out(runs):
    weights = weights_of(runs, "mscsa_default")
    usual, fast, tta = (Method(weights, CPU, *how) for how in ((), (True,), (False, True)))
    assert isinstance(usual.inferer, PatchInferer)
    steps = [(len(m.flips), len(m.inferer.flips), m.inferer.step) for m in (usual, fast, tta)]
    assert steps == [(1, 8, 0.5), (1, 1, 0.75), (8, 1, 0.5)]
    # 128 / 32: starts 16 apart make 7, starts 24 apart 5.
    assert [m.calls((16, 32, 128)) for m in (usual, fast, tta)] == [7 * 8, 5, 7 * 8]


def test_calls_are_counted_as_they_are_made(runs, simulated):
    scan = next(simulated.glob("sub-1/**/*_T1w.nii.gz"))
    method = Method(weights_of(runs, "agmr_net"), CPU, tta=True)
    assert method.expected_seconds((50, 59, 12)) == pytest.approx(6 * method.call_seconds)
    seen: list[float] = []
    method.on_call = seen.append
    list(method.samples(scan))
    assert len(seen) == method.calls((50, 59, 12)) == 6  # 12 slices, 4 at once, 2 flips


def test_a_bundle_without_one_network_says_what_to_do():
    bundle = find_bundle("mscsa_ensemble")
    with pytest.raises(UsageError, match=r"no single network .*; name the members of an ensemble"):
        read_config(Weights(bundle, bundle / "none.pt"))
