"""The exponential average of a network's weights."""

import copy

import pytest
import torch
from ignite.engine import Engine

from stroke_nets.training.weight_average import WeightAverage


def trained(iterations, decay):
    """Scalar weight k after iteration k, and its average."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    network[0].weight.data.zero_()
    average = copy.deepcopy(network)

    def step(engine, _):
        network[0].weight.data.fill_(float(engine.state.iteration))
        network[1].num_batches_tracked.add_(1)

    engine = Engine(step)
    WeightAverage(network, average, decay).attach(engine)
    engine.run(range(iterations))
    return network, average


def test_average_follows_the_recurrence():
    expected = 0.0
    for k in range(1, 51):
        decay = min(0.8, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * k
    network, average = trained(50, 0.8)
    assert network[0].weight.item() == 50
    assert average[0].weight.item() == pytest.approx(expected, rel=1e-5)
    assert average[1].num_batches_tracked == 50


def test_a_decay_of_one_is_refused():
    with pytest.raises(ValueError, match="decay 1"):
        WeightAverage(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), 1)
