import doctest
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.networks import nnunet
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet, ResidualBlock, ResidualBlockD, ResUNet

SHAPES = Path(__file__).parents[1] / "reference" / "mscsa" / "state_dict_shapes.json"
FULL = {
    "unet": lambda: PlainUNet(),
    "unet_mscsa": lambda: PlainUNet(skip_attention=MSCSA(heads=16)),
    "res": lambda: ResUNet(),
    "res_mscsa": lambda: ResUNet(skip_attention=MSCSA(heads=28)),
    "unet_v2": lambda: PlainUNet(bias=True),
    "resenc_v2": lambda: ResUNet(blocks=(1, 3, 4, 6, 6, 6), block=ResidualBlockD, bias=True),
}
WIDTHS = (4, 6, 8)


def tiny_attention():
    return MSCSA(WIDTHS, heads=2, key_dim=3, value_dim=6)


TINY = {
    "plain": lambda: PlainUNet(widths=WIDTHS),
    "plain_mscsa": lambda: PlainUNet(widths=WIDTHS, skip_attention=tiny_attention()),
    "res": lambda: ResUNet(widths=WIDTHS, blocks=(1, 2, 2)),
    "res_mscsa": lambda: ResUNet(widths=WIDTHS, blocks=(1, 2, 2), skip_attention=tiny_attention()),
    "resenc": lambda: ResUNet(widths=WIDTHS, blocks=(1, 2, 2), block=ResidualBlockD, bias=True),
}
every_tiny = pytest.mark.parametrize("name", TINY)


def tiny(name):
    torch.manual_seed(0)
    return TINY[name]()


def full(name):
    with torch.device("meta"):
        return FULL[name]()


# ---- at full size, on the meta device


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet", 31_194_784),
        ("unet_mscsa", 58_939_424),
        ("res", 72_137_888),
        ("res_mscsa", 112_861_728),
        ("unet_v2", 31_195_594),
        ("resenc_v2", 102_349_770),
    ],
)
def test_parameter_counts(name, expected):
    assert sum(p.numel() for p in full(name).parameters()) == expected


@pytest.mark.parametrize("name", ["unet", "unet_mscsa", "res", "res_mscsa"])
def test_parameter_shapes_are_the_originals(name):
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = Counter(
        tuple(shape)
        for key, shape in json.loads(SHAPES.read_text())[name].items()
        if ".all." not in key and not key.endswith(statistics)
    )
    assert Counter(tuple(p.shape) for p in full(name).parameters()) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("unet", 954.55), ("unet_mscsa", 976.89), ("res", 1190.24), ("res_mscsa", 1221.60)],
)
def test_forward_operations(name, expected):
    """Convolutions and matrix products of one 128^3 patch, all heads included, in GFLOP."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        full(name).train()(torch.zeros(1, 1, 128, 128, 128, device="meta"))
    assert round(counter.get_total_flops() / 1e9, 2) == expected


# ---- what every network promises


@every_tiny
def test_training_hands_out_every_level(name):
    logits, lower = tiny(name).train()(torch.randn(2, 1, 16, 8, 12))
    assert logits.shape == (2, 2, 16, 8, 12)
    assert [tuple(level.shape) for level in lower] == [(2, 2, 8, 4, 6)]


def test_lower_levels_come_deepest_last():
    network = PlainUNet(widths=(2, 2, 2, 2, 2)).train()
    _, lower = network(torch.randn(1, 1, 32, 32, 32))
    assert [level.shape[2] for level in lower] == [16, 8, 4]


@every_tiny
def test_backward_reaches_every_parameter(name):
    network = tiny(name).train()
    logits, lower = network(torch.randn(2, 1, 16, 8, 8))
    (logits.square().mean() + sum(level.square().mean() for level in lower)).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@every_tiny
def test_evaluation_returns_one_tensor_and_repeats(name):
    network, image = tiny(name).eval(), torch.randn(1, 1, 8, 12, 8)
    with torch.no_grad():
        first, second = network(image), network(image)
    assert isinstance(first, torch.Tensor)
    assert first.shape == (1, 2, 8, 12, 8)
    assert torch.equal(first, second)


@every_tiny
def test_evaluation_pads_and_crops(name):
    network, image = tiny(name).eval(), torch.randn(1, 1, 7, 9, 10)
    with torch.no_grad():
        padded = network(F.pad(image, (0, 2, 0, 3, 0, 1)))
        torch.testing.assert_close(network(image), padded[:, :, :7, :9, :10], rtol=0, atol=0)


@every_tiny
def test_training_refuses_what_the_strides_do_not_divide(name):
    with pytest.raises(ValueError, match=r"multiple of 4 along each axis, got \[8, 10, 8\]"):
        tiny(name).train()(torch.zeros(2, 1, 8, 10, 8))


@pytest.mark.parametrize("training", [True, False])
def test_refuses_one_voxel_at_the_deepest_stage(training):
    with pytest.raises(ValueError, match=r"longer than 4, got \[4, 4, 4\]"):
        tiny("plain").train(training)(torch.zeros(2, 1, 4, 4, 4))


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
@every_tiny
def test_script_equals_eager(name):
    network = tiny(name).eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        for size in [(8, 12, 8), (7, 9, 10)]:
            image = torch.randn(1, 1, *size)
            torch.testing.assert_close(scripted(image), network(image))


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # PyTorch's own
@pytest.mark.parametrize("name", ["plain_mscsa", "resenc"])  # every module there is
def test_onnx_equals_eager(name, tmp_path):
    import onnxruntime

    network, image = tiny(name).eval(), torch.randn(1, 1, 7, 9, 10)
    torch.onnx.export(network, (image,), tmp_path / "network.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        # float32 through a dozen layers in another order of summation.
        np.testing.assert_allclose(logits, network(image).numpy(), rtol=1e-4, atol=1e-5)


@every_tiny
def test_initialisation(name):
    network = tiny(name)
    for key, module in network.named_modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            assert module.bias is None or not module.bias.any(), key


def test_backbone_is_he_normal_and_the_attention_is_not():
    network = PlainUNet(widths=(64, 64), skip_attention=MSCSA((64, 64), heads=4))
    conv, query = network.encoder[1][1][0], network.skip_attention.block.attention1.query[0]
    # 110,592 and 20,480 weights: the relative standard error is below 0.5 %.
    assert conv.weight.std().item() == pytest.approx((2 / (1.0001 * 64 * 27)) ** 0.5, rel=0.02)
    assert query.weight.std().item() == pytest.approx((2 / 160) ** 0.5, rel=0.02)


def test_a_bundle_can_name_the_attention_and_the_block():
    parser = ConfigParser(
        {
            "widths": list(WIDTHS),
            "network_def": {
                "_target_": "stroke_nets.networks.nnunet.ResUNet",
                "widths": "@widths",
                "blocks": [1, 1, 1],
                "block": "$stroke_nets.networks.nnunet.ResidualBlockD",
                "skip_attention": {
                    "_target_": "stroke_nets.networks.mscsa.MSCSA",
                    "channels": "@widths",
                    "heads": 2,
                },
            },
        },
        globals={"stroke_nets": "stroke_nets"},
    )
    network = parser.get_parsed_content("network_def")
    assert isinstance(network.skip_attention, MSCSA)
    assert isinstance(network.encoder[0][0], ResidualBlockD)


# ---- the parts


def test_the_decoder_takes_what_the_attention_gives():
    class Halved(nn.Module):
        def forward(self, stages):
            return [stage / 2 for stage in stages]

    network = PlainUNet(widths=WIDTHS, skip_attention=Halved()).eval()
    stages, joined = [], []
    for stage in network.encoder:
        stage.register_forward_hook(lambda _, __, out: stages.append(out))
    for stage in network.decoder:
        stage.register_forward_pre_hook(lambda _, args: joined.append(args))
    network(torch.randn(1, 1, 8, 8, 8))
    assert torch.equal(joined[0][0], stages[2] / 2)
    assert torch.equal(joined[0][1], stages[1] / 2)
    assert torch.equal(joined[1][1], stages[0] / 2)


def test_the_block_of_v2_starts_as_its_skip():
    torch.manual_seed(0)
    block, features = ResidualBlockD(3, 3, stride=2), torch.randn(2, 3, 8, 8, 8)
    expected = F.leaky_relu(F.avg_pool3d(features, 2), 0.01)
    torch.testing.assert_close(block(features), expected)


@pytest.mark.parametrize(
    ("block", "change", "expected"),
    [
        (ResidualBlock, (4, 4, 1), 0),
        (ResidualBlock, (4, 4, 2), 24),  # 4 x 4 weights, scale and shift of 4
        (ResidualBlock, (4, 6, 2), 36),
        (ResidualBlockD, (4, 4, 1), 0),
        (ResidualBlockD, (4, 4, 2), 0),
        (ResidualBlockD, (4, 6, 2), 36),
    ],
)
def test_skips_have_weights_where_they_must(block, change, expected):
    assert sum(p.numel() for p in block(*change).skip.parameters()) == expected


@pytest.mark.parametrize("build", [PlainUNet, lambda widths: ResUNet(widths=widths, blocks=(1,))])
def test_refuses_one_stage(build):
    with pytest.raises(ValueError, match="two stages or more, got 1"):
        build(widths=(4,))


def test_refuses_another_number_of_blocks():
    with pytest.raises(ValueError, match=r"3 widths need as many blocks, got \(1, 2\)"):
        ResUNet(widths=WIDTHS, blocks=(1, 2))


def test_docstring_examples():
    failed, attempted = doctest.testmod(nnunet)
    assert (failed, attempted > 0) == (0, True)
