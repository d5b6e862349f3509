"""What every network of the project keeps to, at tiny widths: one suite over all of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import nn

from stroke_nets.networks.adapters import PaddedSlices, SliceAdapter

BUNDLES = Path(__file__).parents[2] / "bundles"
STAGES, RESNET = [4, 8, 8, 8, 16], [16, 16, 32, 32]
VOLUME = {"widths": [4, 8, 8], "heads": 2, "blocks": [1, 2, 1]}
DEEPER = VOLUME | {"widths": [4, 4, 8, 8]}  # for attention at the third-deepest stage
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.*is deprecated:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


@dataclass(frozen=True)
class Case:
    """A network: its name, how to build it narrow, and what to feed it."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (2, 4, 48, 64)
    classes: int = 1  # channels of the logits
    smallest_batch: int = 1  # in training
    script: bool = True  # or it can be traced only
    settle: bool = False  # its norms learn the input first: else it magnifies float32's error


def network_def(bundle, overlay=None, narrow=()):
    """The network of a bundle's training, with an overlay, and narrow if sizes are given."""
    configs = BUNDLES / bundle / "configs"
    files = ["train.yaml"] + ([f"{overlay}.yaml"] if overlay else [])
    parser = ConfigParser()
    parser.read_config([str(configs / file) for file in files])
    for key, value in dict(narrow).items():
        parser[key] = value
    return parser.get_parsed_content("network_def")


def bundle_case(name, widths=STAGES, **options):
    bundle, _, overlay = name.partition("/")
    return Case(name, lambda: network_def(bundle, overlay, {"widths": widths}), **options)


def patch_case(name, narrow=VOLUME, **options):
    bundle, _, overlay = name.partition("/")
    build = partial(network_def, bundle, overlay, narrow)
    return Case(name, build, shape=(2, 1, 16, 24, 16), **{"classes": 2} | options)


CASES = [
    bundle_case("agmr_net"),
    *(
        bundle_case(f"agmr_net/ablations/{file.stem}")
        for file in sorted(BUNDLES.glob("agmr_net/configs/ablations/*.yaml"))
    ),
    bundle_case("d_unet"),
    bundle_case("x_net"),
    bundle_case("x_net/datasets/own_paper", shape=(2, 1, 48, 64)),
    bundle_case("clci_net", smallest_batch=2),
    bundle_case("clci_net/datasets/own_paper", shape=(2, 1, 48, 64), smallest_batch=2),
    bundle_case("unet"),
    bundle_case("unet_3d"),
    bundle_case("segnet", script=False),
    bundle_case("pspnet", RESNET, smallest_batch=2, script=False),
    bundle_case("deeplab_v3", RESNET, smallest_batch=2, script=False),
    bundle_case("attention_unet"),
    bundle_case("unet_plus_plus"),
    patch_case("mscsa_default"),
    patch_case("mscsa_default/ablations/without_mscsa"),
    patch_case("mscsa_default/ablations/labels_msl", classes=5),
    patch_case("mscsa_default/ablations/labels_dbl", classes=3),
    patch_case("mscsa_default/ablations/labels_msl_focal", classes=5),
    patch_case("mscsa_default/ablations/multiple_sclerosis", classes=5),
    patch_case("mscsa_default/ablations/labels_dbl_focal", classes=3),
    patch_case("mscsa_default/ablations/mscsa_depth3", settle=True),
    patch_case("mscsa_default/ablations/mscsa_fuse", script=False),
    patch_case("mscsa_default/ablations/mscsa_shared", DEEPER),
    patch_case("mscsa_default/ablations/mscsa_target16", DEEPER),
    patch_case("mscsa_dtk10"),
    patch_case("mscsa_dtk10/ablations/without_mscsa"),
    patch_case("mscsa_res_unet"),
    patch_case("mscsa_res_unet/ablations/without_mscsa"),
    patch_case("mscsa_self_training"),
    patch_case("mscsa_self_training/ablations/without_mscsa"),
    patch_case("resenc_unet"),
]
every_network = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

COUNTS = {
    "agmr_net": 23_799_283,
    "d_unet": 8_633_379,
    "x_net": 15_072_749,
    "clci_net": 36_813_889,
    "unet": 31_113_793,
    "unet_3d": 21_881_473,
    "segnet": 29_444_161,
    "pspnet": 46_706_689,
    "deeplab_v3": 39_758_081,
    "attention_unet": 31_740_913,
    "unet_plus_plus": 9_119_620,
    "mscsa_default": 58_939_424,
    "mscsa_dtk10": 58_939_424,
    "mscsa_res_unet": 112_861_728,
    "mscsa_self_training": 58_939_424,
    "resenc_unet": 102_349_770,
}


def built(case):
    torch.manual_seed(0)
    network, slices = case.build(), torch.randn(case.shape)
    if case.settle:
        settle(network, slices)
    return network, slices


@torch.no_grad()
def settle(network, slices):
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of all batches: of this one
    network.train()(slices)


def heads(output):
    """All tensors that a network returns, its logits first."""
    return [output] if isinstance(output, torch.Tensor) else [output[0], *output[1]]


def logits_shape(case, image):
    return (image.shape[0], case.classes, *image.shape[2:])


def test_every_network_of_every_bundle_is_here():
    wanted = {path.parents[1].name for path in BUNDLES.glob("*/configs/train.yaml")}
    for overlay in BUNDLES.glob("*/configs/*/*.yaml"):
        if overlay.parents[2].name not in wanted:
            continue  # an ensemble's networks are those of its members
        keys = {key.split("::")[0] for key in ConfigParser.load_config_file(str(overlay))}
        if keys & {"network_def", "offsets", "classes"}:
            wanted.add(f"{overlay.parents[2].name}/{overlay.parent.name}/{overlay.stem}")
    assert wanted - {case.name for case in CASES} == set()
    assert {name for name in wanted if "/" not in name} - COUNTS.keys() == set()


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_the_card_says(name):
    with torch.device("meta"):
        network = network_def(name)
    assert sum(p.numel() for p in network.parameters()) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in (BUNDLES / name / "docs/README.md").read_text()


@every_network
def test_training_reaches_every_parameter(case):
    network, slices = built(case)
    outputs = heads(network.train()(slices))
    assert outputs[0].shape == logits_shape(case, slices)
    sum(output.square().mean() for output in outputs).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@every_network
@torch.no_grad()
def test_evaluation_gives_one_tensor_and_repeats(case):
    network, slices = built(case)
    first, second = network.eval()(slices), network(slices)
    assert isinstance(first, torch.Tensor)
    assert first.shape == logits_shape(case, slices)
    assert torch.equal(first, second)


@every_network
@torch.no_grad()
def test_an_image_alone_is_evaluated_as_in_a_batch(case):
    network, slices = built(case)
    together, alone = network.eval()(slices), network(slices[:1])
    torch.testing.assert_close(alone, together[:1], rtol=1e-3, atol=1e-4)  # float32 kernels differ


@every_network
def test_training_on_one_image_works_or_says_why_not(case):
    network, slices = built(case)
    network.train()
    if case.smallest_batch == 1:
        assert torch.isfinite(heads(network(slices[:1]))[0]).all()
    else:
        with pytest.raises(ValueError, match=r"batches of (two|2) slices or more.*batch_size"):
            network(slices[:1])


@pytest.mark.parametrize(
    "case", [case for case in CASES if len(case.shape) == 4], ids=lambda case: case.name
)
@torch.no_grad()
def test_odd_sizes_are_padded_by_the_adapter(case):
    network, slices = built(case)
    padded = network if isinstance(network, SliceAdapter) else PaddedSlices(network)
    padded.eval()
    odd = slices[..., :37, :45]
    found = padded(odd)
    assert found.shape == logits_shape(case, odd)
    whole = F.pad(odd, (0, -45 % padded.multiple, 0, -37 % padded.multiple))
    assert torch.equal(found, network(whole)[..., :37, :45])


@pytest.mark.parametrize(
    "case", [case for case in CASES if len(case.shape) == 5], ids=lambda case: case.name
)
@torch.no_grad()
def test_odd_volumes_are_padded_by_the_network(case):
    network, volumes = built(case)
    network.eval()
    odd = volumes[..., :13, :22, :15]
    found = network(odd)
    assert found.shape == logits_shape(case, odd)
    whole = F.pad(odd, (0, 1, 0, 2, 0, 3))
    assert torch.equal(found, network(whole)[..., :13, :22, :15])


@every_network
@torch.no_grad()
def test_float64(case):
    network, slices = built(case)
    single = network.eval()(slices)
    double = network.double()(slices.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-2, atol=1e-3)  # float32's error


@every_network
@torch.no_grad()
def test_bfloat16_autocast(case):
    network, slices = built(case)
    single = network.eval()(slices)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(slices)
    assert half.shape == single.shape
    assert torch.isfinite(half).all()


@every_network
@torch.no_grad()
def test_torchscript(case):
    network, slices = built(case)
    network.eval()
    convert = torch.jit.script if case.script else lambda net: torch.jit.trace(net, slices)
    converted = convert(network)
    other = torch.randn_like(slices)
    torch.testing.assert_close(converted(other), network(other), rtol=1e-4, atol=1e-5)
    card = BUNDLES / case.name / "docs/README.md"  # an overlay has none
    if card.is_file():
        assert f"`torch.jit.{'script' if case.script else 'trace'}`" in card.read_text()


@every_network
@pytest.mark.parametrize("value", [0.0, 1.0])
@torch.no_grad()
def test_constant_slices_give_finite_logits(case, value):
    network, slices = built(case)
    slices.fill_(value)
    for mode in (True, False):
        assert all(torch.isfinite(output).all() for output in heads(network.train(mode)(slices)))


@pytest.mark.parametrize("name", COUNTS)
def test_metadata_describes_the_network(name):
    metadata = json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    case = next(case for case in CASES if case.name == name)
    assert image["num_channels"] == case.shape[1] == len(image["channel_def"])
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == case.classes
    assert metadata["version"] in metadata["changelog"]
