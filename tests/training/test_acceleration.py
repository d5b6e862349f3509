"""`accelerate.yaml` computes the same, and what it compiles is one graph."""

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import nn

from stroke_nets.inference.backend import channels_last
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet
from stroke_nets.training import acceleration
from stroke_nets.training.plain_batch import plain_batch
from stroke_nets.training.randomness import SeedEachEpoch

CPU = torch.device("cpu")
WIDTHS = [4, 8, 8]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (PlainUNet(widths=WIDTHS, skip_attention=MSCSA(WIDTHS, 2)), (2, 1, 16, 16, 16)),
        (AGMRNet(widths=(4, 8, 8, 16, 16)), (2, 4, 48, 48)),
    ],
    ids=["mscsa", "agmr_net"],
)
def test_a_training_step_is_one_graph(network, shape):
    run = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    logits, extras = run(torch.rand(shape))
    assert logits.shape[2:] == shape[2:]
    assert extras


def test_the_channels_are_last_and_the_values_stay():
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Linear(2, 2), nn.Conv3d(4, 8, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    placed = channels_last(network)
    assert placed[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert placed[2].weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(dict(placed.state_dict()), before, rtol=0, atol=0)


def test_a_cpu_is_given_the_network_itself():
    network = nn.Conv2d(1, 1, 1)
    assert acceleration.compiled(network, CPU) is network
    assert acceleration.amp_options(CPU) == {}


def test_a_gpu_is_given_a_compiled_network_with_the_same_weights():
    network = nn.Conv2d(1, 1, 1)
    run = acceleration.compiled(network, torch.device("cuda"))
    assert run is not network
    assert next(run.parameters()) is network.weight


def test_bfloat16_where_the_gpu_has_it(monkeypatch):
    gpu = torch.device("cuda")
    for able, wanted in ((True, {"dtype": torch.bfloat16}), (False, {})):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able, **options: able)
        assert acceleration.amp_options(gpu) == wanted


def test_a_batch_is_plain_tensors():
    batch = {"image": MetaTensor(torch.ones(1, 2)), "label": torch.ones(1, 2), "case": ["one"]}
    assert [type(part) for part in plain_batch(batch, CPU)] == [torch.Tensor] * 2


def test_kernels_are_tried_though_every_epoch_is_seeded(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    engine = Engine(lambda engine, batch: None)
    for handler in (SeedEachEpoch(0), acceleration.FastestKernels()):
        handler.attach(engine)
    engine.run([0], max_epochs=2)
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.deterministic
