import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stroke_nets.networks.agmr_net import CFF, CPA, MDU, AGMRNet, VolumeEncoder
from stroke_nets.networks.blocks.agmr_ablations import (
    AddFusion,
    BilinearUp,
    CFFConcatFusion,
    ConcatFusion,
    MultiScaleConv,
    NoAttention,
    SEFusion,
    SharedCFF,
    SpatialAttention,
)

TINY = (4, 8, 8, 8, 16)
OPTIONS = {
    "full": {},
    "baseline": {"attention": NoAttention, "fusion": SEFusion, "upsample": BilinearUp},
    "spatial": {"attention": SpatialAttention, "fusion": SharedCFF},
    "add": {"fusion": AddFusion, "downsample": functools.partial(MultiScaleConv, stride=2)},
    "concat": {"fusion": ConcatFusion, "skip": functools.partial(MultiScaleConv, stride=1)},
    "cff_concat": {"fusion": CFFConcatFusion, "upsample": functools.partial(MDU, dropout=0.0)},
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(build, *args, **kwargs):
    with torch.device("meta"):
        return build(*args, **kwargs)


def tiny(**options):
    torch.manual_seed(0)
    return AGMRNet(widths=TINY, **options)


# ---- parameter counts: those of the paper's Table 9, and those of every block


@pytest.mark.parametrize(
    ("kernel_sizes", "expected"),
    [
        ((3, 5, 7, 9), 23_799_283),
        ((3, 3, 3, 3), 12_658_163),
        ((5, 5, 5, 5), 18_228_723),
        ((7, 7, 7, 7), 26_584_563),
        ((9, 9, 9, 9), 37_725_683),
    ],
)
def test_table_9_counts(kernel_sizes, expected):
    upsample = functools.partial(MDU, kernel_sizes=kernel_sizes)
    assert count(on_meta(AGMRNet, upsample=upsample)) == expected


def test_another_layer_list_meets_table_9_too():
    """Table 9 does not determine the network: a second list has the same five totals.

    Its last convolution is 3 x 3 with batch norm, its MLPs have biases, its deconvolutions none.
    None of the four changes depends on the kernel sizes, so one sum holds for all five totals.
    """
    network = on_meta(AGMRNet)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    gates = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    gates = [m for m in gates if m.bias is None]  # CFF's MLPs, if they are convolutions
    deconvolutions = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    wider_head = 9 * 32 - 32 + 2  # 3 x 3 instead of 1 x 1, and a scale and a shift
    mlp_biases = sum(m.out_features for m in linear) + sum(m.out_channels for m in gates)
    assert (len(linear) + len(gates), len(deconvolutions)) == (5 * 2 + 2 * 4, 16)
    assert wider_head + mlp_biases - sum(m.bias.numel() for m in deconvolutions) == 0


def test_block_counts():
    network = on_meta(AGMRNet)
    stages = [network.stage1, network.stage2, network.stage3, network.stage4, network.stage5]
    planes = [count(stage.convs) for stage in stages]
    assert planes == [10_560, 55_680, 221_952, 886_272, 3_542_016]
    volume = network.volume_encoder
    volumes = [count(stage) for stage in (volume.stage1, volume.stage2, volume.stage3)]
    assert volumes == [28_704, 166_272, 664_320]
    assert [count(stage.attention) for stage in stages] == [1_296] * 5
    assert [count(network.fusion2), count(network.fusion3)] == [4_481, 13_953]
    decoders = [network.decoder4, network.decoder3, network.decoder2, network.decoder1]
    assert [count(d.up[0]) for d in decoders] == [10_749_440, 2_687_744, 672_128, 168_128]
    assert [count(d.up[1]) for d in decoders] == [1_180_416, 295_296, 73_920, 18_528]
    assert sum(count(d.convs) for d in decoders) == 2_352_960
    assert count(network.head) == 33


def test_mdu_counts_by_branch():
    # k^2 * 512 * 128 weights, 128 biases, and this branch's 2 * 128 of the shared batch norm.
    branches = [count(branch) + 256 for branch in on_meta(MDU, 512).branches]
    assert branches == [590_208, 1_638_784, 3_211_648, 5_308_800]


# ---- CPA


def test_cpa_multiplies_by_a_block_constant_map():
    torch.manual_seed(1)
    features = torch.rand(2, 3, 12, 24) + 0.5
    attended, maps = CPA()(features)
    assert [tuple(m.shape) for m in maps] == [(2, 1, 6, 6)]
    weight = 1 + torch.sigmoid(maps[0])
    blocks = weight.repeat_interleave(2, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(attended, features * blocks)
    assert maps[0].std() > 0


def test_cpa_by_hand():
    # The first layer's unit 0 sums the cells, the second hands it to cell (0, 1) alone.
    cpa = CPA()
    with torch.no_grad():
        cpa.mlp[0].weight.zero_()[0] = 1
        cpa.mlp[2].weight.zero_()[1, 0] = 1
    # The channels 0 and 2 have a mean of 1 in each of 36 cells: 36 * 1/36 = 1 after scaling.
    # One cell has 1 more: the sum, and so the logit, is 2.
    features = torch.stack([torch.zeros(6, 6), torch.full((6, 6), 2.0)])[None] / 36
    features[:, :, 5, 5] += 1
    attended, maps = cpa(features)
    expected = torch.zeros(1, 1, 6, 6)
    expected[0, 0, 0, 1] = 2.0
    torch.testing.assert_close(maps[0], expected)
    # sigmoid(0) = 1/2 everywhere else, sigmoid(2) = 0.880797 in that cell.
    torch.testing.assert_close(attended[0, 1, 5, 5], torch.tensor(1.5 * (2 / 36 + 1)))
    torch.testing.assert_close(attended[0, 1, 0, 1], torch.tensor(1.880797 * 2 / 36))


@pytest.mark.parametrize("size", [(2, 2), (32, 48), (5, 7)])
def test_cpa_takes_sizes_that_six_does_not_divide(size):
    attended, maps = CPA()(torch.rand(1, 4, *size))
    assert attended.shape[2:] == size
    assert maps[0].shape[2:] == (6, 6)


# ---- CFF


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("fusion", [CFF, SharedCFF, SEFusion, AddFusion])
def test_fusions_follow_their_formula(fusion):
    torch.manual_seed(2)
    block = fusion(8, 2, ratio=2).eval() if fusion is not AddFusion else fusion(8, 2).eval()
    volume, plane = torch.randn(3, 8, 2, 5, 6), torch.randn(3, 8, 5, 6)
    weight = {name: value.detach().numpy() for name, value in block.named_parameters()}
    x, p = volume.numpy(), plane.numpy()

    # Squeeze: one channel per slice, which becomes a channel of the plane; then the 3 x 3.
    squeezed = np.einsum("bcdhw,c->bdhw", x, weight["to_plane.squeeze.weight"][0, :, 0, 0, 0])
    squeezed = squeezed + weight["to_plane.squeeze.bias"]
    padded = np.pad(squeezed, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    t = np.einsum("bdhwij,cdij->bchw", windows, weight["to_plane.expand.0.weight"])
    t = t + weight["to_plane.expand.0.bias"][:, None, None]
    t = np.maximum(t / np.sqrt(1 + 1e-5), 0)  # a fresh batch norm in evaluation

    def gate(name, context):
        hidden = np.maximum(context @ weight[f"{name}.0.weight"].T, 0)
        return sigmoid(hidden @ weight[f"{name}.2.weight"].T)[:, :, None, None]

    t_mean, p_mean = t.mean((2, 3)), p.mean((2, 3))
    both = np.concatenate([t_mean, p_mean], axis=1)
    expected = {
        AddFusion: lambda: t + p,
        SEFusion: lambda: t * gate("volume_gate", t_mean) + p * gate("plane_gate", p_mean),
        CFF: lambda: t * gate("volume_gate", both) + p * gate("plane_gate", both),
        SharedCFF: lambda: t * gate("gate", both)[:, :8] + p * gate("gate", both)[:, 8:],
    }[fusion]()
    with torch.no_grad():
        fused = block(volume, plane).numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", [ConcatFusion, CFFConcatFusion])
def test_concat_fusions_put_the_volume_first(fusion):
    torch.manual_seed(3)
    block = fusion(8, 1).eval()
    volume, plane = torch.randn(2, 8, 1, 4, 4), torch.randn(2, 8, 4, 4).abs()
    with torch.no_grad():
        # The 1 x 1 convolution picks the plane's half: what is left is the (weighted) plane.
        block.mix[0].weight.zero_()
        block.mix[0].weight[:, 8:, 0, 0] = torch.eye(8)
        block.mix[0].bias.zero_()
        fused = block(volume, plane) * (1 + 1e-5) ** 0.5
        if fusion is CFFConcatFusion:
            means = [block.to_plane(volume).mean((2, 3)), plane.mean((2, 3))]
            plane = plane * block.plane_gate(torch.cat(means, 1))[:, :, None, None]
    torch.testing.assert_close(fused, plane)


# ---- MDU and the multi-scale convolution


def test_mdu_doubles_and_keeps_its_branches_in_order():
    torch.manual_seed(4)
    mdu = MDU(16).eval()
    features = torch.randn(2, 16, 5, 7)
    with torch.no_grad():
        doubled = mdu(features)
        parts = []
        for branch, size in zip(mdu.branches, (3, 5, 7, 9), strict=True):
            weight, bias, pad = branch.weight, branch.bias, (size - 1) // 2
            assert tuple(weight.shape) == (16, 4, size, size)
            raw = F.conv_transpose2d(features, weight, bias, 2, pad, output_padding=1)
            parts.append(torch.relu(raw / (1 + 1e-5) ** 0.5))
    assert doubled.shape == (2, 16, 10, 14)
    torch.testing.assert_close(doubled, torch.cat(parts, 1))


@pytest.mark.parametrize("build", [MDU, functools.partial(MultiScaleConv, stride=1)])
def test_multi_scale_blocks_refuse_what_cannot_be_shared(build):
    with pytest.raises(ValueError, match="must divide the channels"):
        build(10)
    with pytest.raises(ValueError, match="must be odd"):
        build(8, kernel_sizes=(3, 4))


@pytest.mark.parametrize(("stride", "size"), [(1, (8, 6)), (2, (4, 3))])
def test_multi_scale_conv_keeps_or_halves(stride, size):
    block = MultiScaleConv(8, stride)
    assert [tuple(branch.kernel_size) for branch in block.branches] == [
        (3, 3),
        (5, 5),
        (7, 7),
        (9, 9),
    ]
    assert block(torch.rand(2, 8, 8, 6)).shape == (2, 8, *size)


# ---- the other options


def test_no_attention_changes_nothing():
    features = torch.rand(1, 3, 4, 4)
    attended, maps = NoAttention()(features)
    assert attended is features
    assert maps == []


def test_spatial_attention_by_hand():
    attention = SpatialAttention()
    with torch.no_grad():
        attention.conv.weight.zero_()[0, :, 3, 3] = torch.tensor([1.0, 10.0])
    features = torch.zeros(1, 2, 3, 3)
    features[0, :, 1, 1] = torch.tensor([0.1, 0.3])
    # Mean 0.2 and maximum 0.3: sigmoid(0.2 + 3.0) = 0.960834.
    attended, maps = attention(features)
    assert attended[0, 1, 1, 1].item() == pytest.approx(0.3 * 0.960834)
    assert maps == []


def test_bilinear_up_doubles():
    ramp = torch.tensor([[[[0.0, 4.0]]]])
    expected = torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(1, 1, 2, 4)
    torch.testing.assert_close(BilinearUp(1)(ramp), expected)


# ---- the network


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_backward_reaches_every_parameter(options):
    network = tiny(**options).train()
    logits, maps = network(torch.randn(2, 4, 32, 48))
    assert logits.shape == (2, 1, 32, 48)
    (logits.square().mean() + sum(m.square().mean() for m in maps)).backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_training_hands_out_one_map_per_stage():
    logits, maps = tiny().train()(torch.randn(2, 4, 32, 32))
    assert isinstance(logits, torch.Tensor)
    assert [tuple(m.shape) for m in maps] == [(2, 1, 6, 6)] * 5


def test_training_without_attention_hands_out_none():
    assert tiny(attention=NoAttention).train()(torch.randn(2, 4, 32, 32))[1] == []


def test_evaluation_returns_one_tensor_and_repeats():
    network = tiny().eval()
    slices = torch.randn(1, 4, 96, 64)
    with torch.no_grad():
        first, second = network(slices), network(slices)
    assert isinstance(first, torch.Tensor)
    assert first.shape == (1, 1, 96, 64)
    assert torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_script_equals_eager(options):
    network = tiny(**options).eval()
    slices = torch.randn(1, 4, 32, 48)
    with torch.no_grad():
        scripted = torch.jit.script(network)
        torch.testing.assert_close(scripted(slices), network(slices))
        with pytest.raises(torch.jit.Error, match="multiples of 16"):
            scripted(torch.zeros(1, 4, 32, 40))


def test_slices_are_the_depth_of_the_3d_branch(monkeypatch):
    seen = []
    forward = VolumeEncoder.forward
    monkeypatch.setattr(
        VolumeEncoder, "forward", lambda self, x: (seen.append(x), forward(self, x))[1]
    )
    slices = torch.randn(2, 4, 32, 32)
    tiny().eval()(slices)
    assert seen[0].shape == (2, 1, 4, 32, 32)
    for i in range(4):
        assert torch.equal(seen[0][:, 0, i], slices[:, i])


def test_3d_stages_halve_the_slices():
    second, third = VolumeEncoder((4, 8, 8))(torch.randn(2, 1, 4, 16, 16))
    assert second.shape == (2, 8, 2, 8, 8)
    assert third.shape == (2, 8, 1, 4, 4)


def test_skips_come_first_in_the_decoder():
    decoder = tiny().eval().decoder1
    skip, below = torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)
    seen = []
    decoder.convs.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        decoder(below, skip)
    assert torch.equal(seen[0][:, :4], skip)
    assert torch.equal(seen[0][:, 4:], decoder.up(below))


def test_dropout_after_stages_4_and_5_only():
    network = on_meta(AGMRNet)
    stages = [network.stage1, network.stage2, network.stage3, network.stage4, network.stage5]
    assert [stage.dropout.p for stage in stages] == [0.0, 0.0, 0.0, 0.3, 0.3]
    assert network.decoder4.up[0].activate[2].p == 0.1


def test_eight_slices():
    network = tiny(in_slices=8).eval()
    assert network(torch.randn(1, 8, 16, 16)).shape == (1, 1, 16, 16)


def test_kaiming_initialisation():
    network = AGMRNet(widths=(8, 16, 32, 64, 128))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            assert not module.bias.any()
    weight = network.stage5.convs[0][0].weight  # 64 -> 128, 3 x 3: std = sqrt(2 / (64 * 9))
    assert weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 4, 40, 32), (1, 4, 32, 40), (4, 32, 32)])
def test_refuses_other_inputs(shape):
    with pytest.raises(ValueError, match="multiples of 16"):
        tiny().eval()(torch.zeros(shape))


@pytest.mark.parametrize("options", [{"in_slices": 6}, {"in_slices": 0}, {"widths": (4, 8, 8, 8)}])
def test_refuses_other_constructions(options):
    with pytest.raises(ValueError, match="multiple of 4 and widths five"):
        AGMRNet(**options)
