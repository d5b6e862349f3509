"""D-UNet, X-Net and CLCI-Net compute what their published Keras code computes.

The references hold the originals' weights, input, sigmoid output and some inner tensors at tiny
widths. The number in a Keras layer's name is its order of creation within its class, which is the
order in which the networks here register their modules.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.networks.blocks.keras_layers import same_conv
from stroke_nets.networks.clci_net import CLCINet
from stroke_nets.networks.d_unet import DUNet
from stroke_nets.networks.x_net import NonLocal, XNet

REFERENCE = Path(__file__).parents[1] / "reference" / "baselines"
NETWORKS = {
    "dunet": lambda: DUNet(widths=(8, 16, 32, 64, 128)),
    "xnet": lambda: XNet(1, widths=(8, 16, 32, 64, 128)),
    "clci": lambda: CLCINet(1, widths=(4, 8, 16, 32, 64)),
}
TOLERANCE = 1e-4  # float32 sums in another order; the references' own figures are below 2e-5
FIELDS = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "bias": "bias",
}


def keras_class(module):
    """The Keras class of a PyTorch layer that has weights."""
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups > 1 or (module.bias is None and module.kernel_size == (3, 3))
        return "DepthwiseConv2D" if depthwise else "Conv2D"
    names = {nn.Conv3d: "Conv3D", nn.Linear: "Dense"}
    names |= {nn.BatchNorm2d: "BatchNormalization", nn.BatchNorm3d: "BatchNormalization"}
    return names.get(type(module))


def keras_order(network):
    """The network's layers by Keras class, in order of creation."""
    layers = {}
    recurrent = [m for m in network.modules() if type(m).__name__ == "ConvLSTM"]
    inside = {child for lstm in recurrent for child in lstm.children()}
    for module in network.modules():
        if module not in inside and (kind := keras_class(module)):
            layers.setdefault(kind, []).append(module)
    return layers | {"ConvLSTM2D": recurrent}


def target(module, field):
    """The tensor that a Keras weight goes into."""
    if type(module).__name__ == "ConvLSTM":
        part = module.recurrent if field == "recurrent_kernel" else module.input
        return part.bias if field == "bias" else part.weight
    return getattr(module, FIELDS[field])


def torch_layout(array, kind, field):
    """HWIO to OIHW; HWDIO to OIDHW; IO to OI; depthwise HWI1 to I1HW."""
    tensor = torch.from_numpy(array)
    if "kernel" not in field:
        return tensor
    if kind == "DepthwiseConv2D":
        return tensor.permute(2, 3, 0, 1)
    orders = {2: (1, 0), 4: (3, 2, 0, 1), 5: (4, 3, 2, 0, 1)}
    return tensor.permute(orders[tensor.ndim])


def number(name):
    """A layer's order of creation: conv2d, conv2d_1, conv2d_2."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else 0


def load(network, reference):
    """Copy every Keras weight; each tensor of the network must be written once."""
    weights = [(key, *key.split("|")[1:]) for key in reference if key[0] == "w"]
    layers, written = keras_order(network), []
    with torch.no_grad():
        for key, kind, name, field in weights:
            order = sorted({number(n) for _, k, n, _ in weights if k == kind})
            tensor = target(layers[kind][order.index(number(name))], field)
            value = torch_layout(reference[key], kind, field)
            assert tensor.shape == value.shape, key
            tensor.copy_(value)
            written.append(tensor.data_ptr())
    wanted = [t for n, t in network.state_dict().items() if "num_batches" not in n]
    assert sorted(written) == sorted(t.data_ptr() for t in wanted)


@pytest.fixture(params=NETWORKS)
def original(request):
    """A network with the original's weights, and the reference arrays."""
    with np.load(REFERENCE / f"{request.param}_tiny_ref.npz") as arrays:
        reference = dict(arrays)
    network = NETWORKS[request.param]().eval()
    load(network, reference)
    return request.param, network, reference


def planes(array):
    """NHWC to NCHW."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


# Keras layer: the module here, whether its input or output is meant, and from which channel on.
PROBES = {
    "dunet": {
        "multiply": ("fusion2.volume_excite", "output", 0),
        "multiply_1": ("fusion2.plane_excite", "output", 0),
        "add": ("fusion2", "output", 0),
        "add_1": ("fusion3", "output", 0),
    },
    "xnet": {"add_5": ("fsm.non_local", "output", 0), "add_6": ("fsm", "output", 0)},
    "clci": {
        "concatenate": ("fusion1.mix", "input", 0),
        "concatenate_1": ("fusion2.mix", "input", 8),  # before stage 2 was prepended
        "concatenate_2": ("fusion2.mix", "input", 0),
        "concatenate_10": ("aspp.mix", "input", 0),
        "conv_lstm2d": ("decoder4.lstm", "output", 0),
        "conv_lstm2d_3": ("decoder1.lstm", "output", 0),
    },
}


def watch(network):
    """Keep what goes into and comes out of every module, by the module's name."""
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, args, out, name=name: seen.update({name: {"input": args[0], "output": out}})
        )
    return seen


@torch.no_grad()
def test_output_and_probes(original):
    name, network, reference = original
    seen = watch(network)
    logits = network(planes(reference["input"]))
    close(torch.sigmoid(logits), planes(reference["output"]))
    for probe, (module, side, channel) in PROBES[name].items():
        close(seen[module][side][:, channel:], planes(reference[f"probe|{probe}"]))
    dots = {"dot", "dot_1"} if name == "xnet" else set()  # the next test
    assert PROBES[name].keys() | dots == {
        key.removeprefix("probe|") for key in reference if key.startswith("probe|")
    }


@pytest.mark.parametrize("original", ["xnet"], indirect=True)
@torch.no_grad()
def test_x_nets_attention_equals_the_matrix_over_all_pixels(original):
    _, network, reference = original
    seen = watch(network)
    network(planes(reference["input"]))
    theta, phi, g = (
        seen[f"fsm.non_local.{name}"]["output"].flatten(2).transpose(1, 2)
        for name in ("theta", "phi", "g")
    )
    matrix = theta @ phi.transpose(1, 2)
    close(matrix, torch.from_numpy(reference["probe|dot"]))
    attended = matrix / matrix.shape[1] @ g
    close(attended, torch.from_numpy(reference["probe|dot_1"]))
    close(seen["fsm.non_local.out"]["input"].flatten(2).transpose(1, 2), attended)


def test_x_nets_attention_never_builds_that_matrix():
    features = torch.zeros(1, 8, 64, 64)
    with FlopCounterMode(display=False) as counter:
        NonLocal(8)(features)
    assert counter.get_total_flops() < 64**4  # as many as the matrix has entries


COUNTS = [  # trainable, and with batch-norm statistics
    (DUNet, {}, 8_633_379, 8_640_163),
    (XNet, {"in_channels": 1}, 15_072_332, 15_117_646),
    (XNet, {"in_channels": 4}, 15_072_749, 15_118_069),
    (CLCINet, {"in_channels": 1}, 36_813_025, 36_838_305),
    (CLCINet, {"in_channels": 4}, 36_813_889, 36_839_169),
]


@pytest.mark.parametrize(("build", "options", "trainable", "total"), COUNTS)
def test_counts(build, options, trainable, total):
    with torch.device("meta"):
        network = build(**options)
    parameters = sum(p.numel() for p in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    assert (parameters, parameters + statistics) == (trainable, total)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "margins"),
    [
        (3, 1, 1, (1, 1)),
        (3, 2, 1, (0, 1)),
        (3, 4, 1, (0, 0)),
        (3, 16, 1, (0, 0)),
        (2, 1, 1, (0, 1)),
        (3, 1, 6, (6, 6)),
        (1, 1, 1, (0, 0)),
    ],
)
def test_same_padding_is_at_the_bottom_and_right(kernel_size, stride, dilation, margins):
    conv = same_conv(1, 1, kernel_size, stride, dilation)
    image = torch.randn(1, 1, 16, 32)
    weight, bias = conv.parameters()
    padded = F.pad(image, margins * 2)
    expected = F.conv2d(padded, weight, bias, stride, dilation=dilation)
    assert torch.equal(conv(image), expected)
    assert expected.shape == (1, 1, 16 // stride, 32 // stride)


def test_keras_batch_norm():
    for module in CLCINet(widths=(4, 4, 8, 8, 16)).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


def test_conv_lstm_starts_as_in_keras():
    lstm = CLCINet(widths=(4, 4, 8, 8, 16)).decoder4.lstm
    assert lstm.input.bias.tolist() == [0] * 8 + [1] * 8 + [0] * 16
    rows = lstm.recurrent.weight.flatten(1)  # 32 gates of 8 x 3 x 3
    close(rows @ rows.T, torch.eye(32))


@pytest.mark.parametrize("build", [DUNet, XNet, CLCINet])
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 4, 40, 32), (2, 4, 32, 40), (4, 32, 32)])
def test_other_inputs_are_refused(build, shape):
    with pytest.raises(ValueError, match="multiples of 16"):
        build(widths=(4, 4, 8, 8, 16))(torch.zeros(shape))


def test_d_unet_refuses_other_depths():
    with pytest.raises(ValueError, match="multiple of 4"):
        DUNet(in_slices=6)
