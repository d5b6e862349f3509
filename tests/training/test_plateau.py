import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from stroke_nets.losses.x_net import XNetLoss
from stroke_nets.training.plateau import PlateauLR, ValidationLoss

# What Keras 2's callbacks do with these losses (patience 3, min_delta 1e-3; stop after 5):
# 0.8995 is lower than 0.9 for the stop, not for the rate, whose third epoch without a lower loss is
# the fourth; its next three end with the seventh. The fifth epoch after the lowest is the seventh.
LOSSES = [0.9, 0.8995, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
RATES = [1.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.04]


def trained(losses, scheduler, rates, epochs=20):
    """The rate after each epoch; the trainer ends when the scheduler says so."""
    trainer = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def step(engine):
        scheduler.step(losses[engine.state.epoch - 1], engine)
        rates.append(scheduler.optimizer.param_groups[0]["lr"])

    trainer.run([0], max_epochs=epochs)
    return rates


def made():
    return PlateauLR(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0))


def test_rate_falls_and_training_ends_as_by_kerass_callbacks():
    assert trained(LOSSES, made(), []) == pytest.approx(RATES)


def test_a_resumed_schedule_goes_on_counting():
    first = made()
    rates = trained(LOSSES, first, [], epochs=4)
    second = made()
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert trained(LOSSES[4:], second, rates) == pytest.approx(RATES)


def test_validation_loss_is_the_mean_over_volumes_in_evaluation_mode():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.Identity()).train()
    volumes = [{"image": torch.randn(1, 1, 4, 4, 3), "label": torch.zeros(1, 1, 4, 4, 3)}] * 2
    volumes[1] = {**volumes[1], "image": torch.randn(1, 1, 4, 4, 3)}
    loss = XNetLoss()
    step = ValidationLoss(network, loss, volumes, lambda x, net: net(x), torch.device("cpu"))
    found, engine = step("the trainer")
    expected = sum(loss(v["image"], v["label"]).item() for v in volumes) / 2
    assert found == pytest.approx(expected)
    assert engine == "the trainer"
    assert network.training
