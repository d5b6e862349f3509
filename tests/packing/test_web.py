"""The network for browsers: PyTorch's logits, in one file that holds nothing else."""

import copy
import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.errors import UsageError
from stroke_nets.inference.method import Method
from stroke_nets.inference.weights import choose
from stroke_nets.packing.archive import file_sha256
from stroke_nets.packing.web import (
    LISTED,
    NETWORK,
    TEMPLATE,
    InterleavedConv,
    export,
    pack_for_web,
    quantise,
)
from stroke_nets.synthesis.t1w import Habit, make_patient, read_sources
from stroke_nets.transforms.brain_box import with_mirror

METHOD = "mscsa_default"  # its published weights are what `predict` runs by default
pytestmark = pytest.mark.filterwarnings("default")  # the exporter warns about its own calls


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    told = CliRunner().invoke(app, ["pack", METHOD, str(out), "--web", "--json"])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


@pytest.fixture(scope="module")
def folder(packed, tmp_path_factory):
    return next(tmp_path_factory.getbasetemp().glob(f"packed*/{METHOD}_*_web"))


@pytest.fixture(scope="module")
def model(folder):
    return onnx.load(folder / NETWORK, load_external_data=False)


@pytest.fixture(scope="module")
def settings(folder):
    return json.loads((folder / LISTED).read_text())


@pytest.fixture(scope="module")
def method():
    (weights,) = choose([METHOD])
    return Method(weights, torch.device("cpu"), backend="torch", precision="float32")


@pytest.mark.parametrize("bias", [True, False])
def test_an_interleaved_convolution_is_the_transposed_one(bias):
    torch.manual_seed(0)
    up = nn.ConvTranspose3d(3, 5, 2, stride=2, bias=bias)
    features = torch.randn(2, 3, 4, 3, 2)
    torch.testing.assert_close(InterleavedConv(up)(features), up(features))


@pytest.mark.parametrize(
    "up",
    [
        nn.ConvTranspose3d(2, 2, 3, stride=2),
        nn.ConvTranspose3d(2, 2, 2, stride=1),
        nn.ConvTranspose3d(2, 2, 2, stride=2, output_padding=1),
        nn.ConvTranspose3d(2, 2, 2, stride=2, groups=2),
    ],
)
def test_another_transposed_convolution_is_refused(up):
    with pytest.raises(ValueError, match="only kernel and stride 2"):
        InterleavedConv(up)


def test_onnx_runtime_gives_pytorch_s_logits(folder, method):
    session = onnxruntime.InferenceSession(folder / NETWORK)
    patch = torch.randn(session.get_inputs()[0].shape, generator=torch.Generator().manual_seed(1))
    (found,) = session.run(["logits"], {"patch": patch.numpy()})
    with torch.inference_mode():
        expected = method.network(patch)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3)


def test_weights_of_8_bits_give_the_same_mask(folder, method, tmp_path):
    file = tmp_path / "int8.onnx"
    export(copy.deepcopy(method.network), method.inferer.patch_size, file, int8=True)
    assert file.stat().st_size < 0.45 * (folder / NETWORK).stat().st_size
    image, _ = make_patient(0, 0, read_sources(None), Habit(healthy=0.0, plain=1.0))
    patch = {"patch": with_mirror(image[None])[None].numpy()}
    found, expected = (
        onnxruntime.InferenceSession(path).run(["logits"], patch)[0][0]
        for path in (file, folder / NETWORK)
    )
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.005 * np.sqrt(np.mean(expected**2))
    masks = [logits[1] > logits[0] for logits in (found, expected)]
    assert masks[1].sum() > 1000
    both = 2 * np.logical_and(*masks).sum() / sum(mask.sum() for mask in masks)
    assert both > 0.99


def test_weights_in_8_bits_are_off_by_half_a_step_at_most():
    values = np.random.default_rng(0).normal(size=(8, 16, 3, 3, 3)).astype(np.float32)
    values[3] = 0  # a channel without weights has no scale
    graph = onnx.GraphProto(initializer=[onnx.numpy_helper.from_array(values, "weight")])
    quantise(graph)
    (node,), tensors = (
        graph.node,
        {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer},
    )
    stored, scale = (tensors[name] for name in node.input)
    assert (node.op_type, node.output[0], stored.dtype) == ("DequantizeLinear", "weight", np.int8)
    scale = scale.reshape(-1, 1, 1, 1, 1)
    assert np.all(np.abs(stored * scale - values) <= 0.5001 * scale)
    assert not stored[3].any()


def test_8_bits_are_of_the_network_for_browsers_alone(tmp_path):
    told = CliRunner().invoke(app, ["pack", METHOD, str(tmp_path), "--int8"])
    assert told.exit_code == UsageError.exit_code
    assert "give --web, too" in told.stderr


def test_no_operator_is_used_that_the_browser_s_runtime_fails_in(model):
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Conv"]
    assert not kinds.keys() & {"ConvTranspose", "MaxPool"}  # of WebGPU, in three dimensions
    for node in model.graph.node:
        if node.op_type == "Conv":  # WebGPU's defaults are of two dimensions
            assert {"dilations", "pads"} <= {attribute.name for attribute in node.attribute}


def test_the_weights_lie_inside_and_no_path_of_the_machine(folder, model):
    assert {path.name for path in folder.iterdir()} == {NETWORK, LISTED, TEMPLATE}
    assert not any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer)
    assert b".py" not in (folder / NETWORK).read_bytes()


def test_the_settings_are_those_of_predict(packed, folder, settings, method):
    assert settings["sha256"] == packed["sha256"] == file_sha256(folder / NETWORK)
    assert settings["weights"] == method.weights.facts
    assert settings["patch_size"] == list(method.inferer.patch_size)
    assert settings["threshold"] == method.threshold
    assert settings["flips"] == [[]]
    assert settings["brain_margin_mm"] == 6
    assert "RegisterToTemplated" in settings["preprocessing"]
    assert settings["postprocessing"][-1] == "LesionMaskd"


def test_what_cannot_be_packed_is_named(packed, folder):
    with pytest.raises(UsageError, match="is there already; delete it"):
        pack_for_web(METHOD, folder.parent)
    with pytest.raises(UsageError, match="agmr_net works on slices"):
        pack_for_web("agmr_net", folder.parent)
