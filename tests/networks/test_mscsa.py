"""The vectors in tests/reference/mscsa are outputs of the original implementation in float64."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stroke_nets.networks import mscsa
from stroke_nets.networks.mscsa import (
    CSA,
    FFN,
    MSCSA,
    DropPath,
    Injection,
    IntraFFN,
    MSCSABlock,
    SharedCSA,
    resize,
)
from stroke_nets.networks.nnunet import FuseUNet, PlainUNet

REFERENCE = Path(__file__).parents[1] / "reference" / "mscsa"
CHANNELS, HEADS, KEY_DIM, VALUE_DIM = (4, 6, 8), 2, 3, 6  # cfg/ in vec_csa
# The original's names and this project's.
NAMES = {
    r"\.6\.(weight|bias)$": r".5.\1",  # its dropout is left out
    r"(^|\.)pipelines\.": r"\1stages.",
    r"(^|\.)pipeline\.": r"\1",
    r"^attn([12])\.": r"attention\1.",
    r"^mlp1\.": "intra_ffn.",
    r"^mlp2\.": "ffn.",
    r"(^|\.)q\.": r"\1query.",
    r"(^|\.)k\.": r"\1keys.",
    r"(^|\.)v\.": r"\1values.",
    r"(^|\.)downsample_1\.": r"\1down2.",
    r"(^|\.)downsample_2\.": r"\1down3.",
    r"(^|\.)v_conv\.": r"\1position.",
    r"(^|\.)attn_norm\.": r"\1project.0.",
    r"(^|\.)proj\.0\.": r"\1project.2.",
    r"^global_act\.": "gate.",
    r"^global_embedding\.": "bias.",
}


def ours(name):
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def vectors(name):
    with np.load(REFERENCE / f"vec_{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]).double() for key in arrays.files}


def loaded(module, arrays, prefix="w/"):
    """The module in float64 and evaluation, with the weights of the original."""
    state = {ours(k[len(prefix) :]): v for k, v in arrays.items() if k.startswith(prefix)}
    missing, unexpected = module.double().load_state_dict(state, strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return module.eval()


def agree(actual, expected):
    """To 1e-9 of values of order 1: both sides are float64, sums in another order."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def tiny_csa():
    return CSA(sum(CHANNELS), HEADS, KEY_DIM, VALUE_DIM)


def tiny_block(drop_path=0.0):
    return MSCSABlock(CHANNELS, HEADS, KEY_DIM, VALUE_DIM, (0.0, drop_path))


def tiny(**options):
    torch.manual_seed(0)
    return MSCSA(CHANNELS, heads=HEADS, key_dim=KEY_DIM, value_dim=VALUE_DIM, **options)


def tiny_stages():
    torch.manual_seed(1)
    return [torch.randn(2, c, s, s, s + 4) for c, s in zip(CHANNELS, (16, 8, 4), strict=True)]


# ---- the same function as the original


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("csa", tiny_csa),
        ("ffn", lambda: FFN(sum(CHANNELS))),
        ("intraffn", lambda: IntraFFN(CHANNELS)),
        ("block", tiny_block),
    ],
)
def test_same_as_the_original(name, build):
    arrays = vectors(name)
    module = loaded(build(), arrays)
    agree(module(arrays["in/x"]), arrays["out/eval"])
    agree(module.train()(arrays["in/x"]), arrays["out/train_nodrop"])


@pytest.mark.parametrize(("name", "build"), [("csa", tiny_csa), ("block", tiny_block)])
def test_same_gradients(name, build):
    arrays = vectors(name)
    module = loaded(build(), arrays)
    x = arrays["in/x"].requires_grad_()
    (module(x) * arrays["grad/gout"]).sum().backward()
    agree(x.grad, arrays["grad/x_eval"])
    for key in arrays.keys() & {"grad/q.0.weight_eval", "grad/downsample_2.0.weight_eval"}:
        parameter = module.get_parameter(ours(key.removeprefix("grad/").removesuffix("_eval")))
        agree(parameter.grad, arrays[key])


def test_csa_scales_and_position():
    arrays = vectors("csa")
    csa = loaded(tiny_csa(), arrays)
    seen = {}
    for ours_, theirs in {"down2": "down2", "down3": "down3", "position": "rpe"}.items():
        csa.get_submodule(ours_).register_forward_hook(
            lambda _, __, out, key=theirs: seen.update({key: out})
        )
    csa(arrays["in/x"])
    for key in ("down2", "down3", "rpe"):
        agree(seen[key], arrays[f"mid/{key}"])


def test_csa_running_statistics():
    arrays = vectors("csa")
    csa = loaded(tiny_csa(), arrays).train()
    csa(arrays["in/x"])
    agree(csa.query[1].running_mean, arrays["mid/train_running_mean_q.1"])
    agree(csa.query[1].running_var, arrays["mid/train_running_var_q.1"])


def test_block_adds_its_sub_layers_one_after_another():
    arrays = vectors("block")
    block = loaded(tiny_block(), arrays)
    seen = []
    for layer in (block.intra_ffn, block.attention2, block.ffn):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    seen.append(block(arrays["in/x"]))
    for i, features in enumerate(seen):
        agree(features, arrays[f"mid/after_sub{i + 1}"])


@pytest.mark.parametrize("case", ["up", "same", "down"])
def test_injection(case):
    arrays = vectors("inject")
    module = loaded(Injection(6), arrays, f"{case}/w/")
    local, context = arrays[f"{case}/in/local"], arrays[f"{case}/in/global"]
    agree(module(local, context), arrays[f"{case}/out/eval"])
    agree(module.train()(local, context), arrays[f"{case}/out/train"])


@pytest.mark.parametrize("case", ["down16", "down4", "up2", "aniso"])
def test_resize(case):
    arrays = vectors("resample")
    expected = arrays[f"{case}/out"]
    agree(resize(arrays[f"{case}/in"], expected), expected)


# ---- parameters


def test_parameter_counts():
    with torch.device("meta"):
        network = MSCSA()
    parts = {
        network.block.attention1: 8_830_880,
        network.block.attention2: 8_830_880,
        network.block.intra_ffn: 1_858_560,
        network.block.ffn: 7_633_920,
        network.norm: 2_240,
        network: 27_744_640,
    }
    injections = (2_176, 8_448, 33_280, 132_096, 206_080, 206_080)
    parts |= dict(zip(network.injections, injections, strict=True))
    for part, expected in parts.items():
        assert sum(p.numel() for p in part.parameters()) == expected


def test_initialisation():
    network = MSCSA((64, 64), heads=4)
    csa, ffn = network.block.attention1, network.block.ffn
    # A depthwise convolution has one output in each group.
    expected = {csa.down2[0]: 2 / 27, csa.query[0]: 2 / 160, ffn[1]: 2 / 384, ffn[3]: 2 / 27}
    for conv, variance in expected.items():
        # Rel. standard error of a deviation: 1 / sqrt(2n) <= 1.2 % for the 3,456 weights of down2.
        assert conv.weight.std().item() == pytest.approx(variance**0.5, rel=0.05)
    assert not any(
        m.bias.any() for m in network.modules() if isinstance(m, nn.Conv3d) and m.bias is not None
    )


# ---- the whole


def test_every_stage_gets_its_own_channels_at_its_own_size():
    network = tiny().eval()
    network.block, network.norm = nn.Identity(), nn.Identity()
    contexts = []
    for injection in network.injections:
        injection.register_forward_pre_hook(lambda _, args: contexts.append(args[1]))
    stages = tiny_stages()
    fused = network(stages)
    assert [f.shape for f in fused] == [s.shape for s in stages]
    for stage, context in zip(stages, contexts, strict=True):
        torch.testing.assert_close(
            context, F.interpolate(stage, (8, 8, 12), mode="trilinear", align_corners=False)
        )


def test_every_stage_sees_every_other():
    network = tiny().eval()
    stages = [stage.requires_grad_() for stage in tiny_stages()]
    for fused in network(stages):
        gradients = torch.autograd.grad(fused.square().sum(), stages, retain_graph=True)
        assert all(gradient.any() for gradient in gradients)


def test_backward_reaches_every_parameter():
    network = tiny().train()
    sum(fused.square().mean() for fused in network(tiny_stages())).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_drop_path_drops_samples_and_scales_the_others():
    torch.manual_seed(0)
    drop, ones = DropPath(0.25), torch.ones(400, 2, 1, 1, 1)
    dropped = drop.train()(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    # 100 of 400 expected, standard deviation sqrt(400 * 0.25 * 0.75) = 8.7: four of them.
    assert abs((dropped[:, 0] == 0).sum().item() - 100) < 35
    assert drop.eval()(ones) is ones


def test_drop_path_acts_on_the_last_two_sub_layers():
    torch.manual_seed(0)
    block, features = tiny_block(drop_path=1 - 1e-9).double().train(), torch.randn(2, 18, 4, 4, 4)
    features = features.double()
    expected = features + block.attention1(features)
    expected = expected + block.intra_ffn(expected)
    assert torch.equal(block(features), expected)


def test_dropping_is_a_tenth_by_default():
    with torch.device("meta"):
        assert MSCSA().block.drop_path.keep == 0.9


# ---- the variants of the authors' code


def test_blocks_stand_one_after_another_and_drop_more_and_more():
    deep = tiny(depth=3).double().eval()
    stages = [stage.double() for stage in tiny_stages()]
    together = torch.cat([resize(stage, stages[-2]) for stage in stages], dim=1)
    for block in (deep.block, *deep.deeper):
        together = block(together)
    expected = deep.norm(together).split(deep.channels, dim=1)
    assert all(map(torch.equal, deep.contexts(stages), expected))
    rates = [1 - d.keep for b in (deep.block, *deep.deeper) for d in (b.drop_path1, b.drop_path)]
    assert rates == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])


def test_target_is_the_stage_whose_size_is_attended_to():
    stages = tiny_stages()
    for target in (-2, -3):
        contexts = tiny(target=target).eval().contexts(stages)
        assert {c.shape[2:] for c in contexts} == {stages[target].shape[2:]}
    with pytest.raises(ValueError, match="target -4: give a block and a stage"):
        tiny(target=-4)


def test_shared_projections_are_the_originals_with_three_times_the_same_weights():
    """`CSA` equals the original to 1e-9 (above), so this one does in evaluation mode."""
    torch.manual_seed(0)
    shared, apart = (
        build(sum(CHANNELS), HEADS, KEY_DIM, VALUE_DIM).double().eval()
        for build in (SharedCSA, CSA)
    )
    apart.load_state_dict(shared.state_dict())
    x = torch.randn(2, sum(CHANNELS), 5, 4, 7).double()
    agree(shared(x), apart(x))
    saved = [sum(p.numel() for p in m.parameters()) for m in (apart, shared)]
    one = sum(p.numel() for m in (apart.keys[0], apart.values[0]) for p in m.parameters())
    assert saved[0] - saved[1] == 2 * one


def test_fusing_in_the_decoder_leaves_the_skips_alone():
    """With gates of 1 and biases of 0 it is the plain U-Net; its parameters are MSCSA's."""
    torch.manual_seed(0)
    widths = {"widths": (4, 6, 8), "out_channels": 2}
    network = FuseUNet(**widths, skip_attention=tiny()).eval()
    for injection in network.skip_attention.injections:
        injection.gate[1].weight.data.zero_()
        injection.gate[1].bias.data.fill_(3)  # hard sigmoid: 1
        injection.bias[1].weight.data.zero_()
    plain = PlainUNet(**widths).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if "attention" not in k})
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(network(image), plain(image))
    network.skip_attention.injections[0].bias[1].bias.data.fill_(1)  # of the last decoder stage
    shifted = network.heads[-1].weight.sum(1).flatten()
    moved = network(image) - plain(image)
    torch.testing.assert_close(moved, shifted[None, :, None, None, None].expand_as(moved))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target": -3}, 27_744_640),
        ({"depth": 3}, 27_744_640 + 2 * (2 * 8_830_880 + 1_858_560 + 7_633_920)),
    ],
)
def test_variants_parameter_counts(options, expected):
    with torch.device("meta"):
        assert sum(p.numel() for p in MSCSA(**options).parameters()) == expected


@pytest.mark.parametrize("stages", [tiny_stages()[:2], tiny_stages()[::-1]])
def test_refuses_other_stages(stages):
    with pytest.raises(ValueError, match=r"built for channels \[4, 6, 8\], got"):
        tiny()(stages)


def test_refuses_one_stage():
    with pytest.raises(ValueError, match="two stages or more"):
        MSCSA((4,))


def test_docstring_examples():
    failed, attempted = doctest.testmod(mscsa)
    assert (failed, attempted > 0) == (0, True)
