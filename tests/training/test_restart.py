from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from stroke_nets.training.restart import RestartOnZeroDice
from stroke_nets.training.run_handlers import RunHandlers


def trained(dice, epochs=4, seed=0):
    """A training of a network that a step never changes; the Dice of each epoch is given."""
    torch.manual_seed(7)
    network = nn.Sequential(nn.Conv3d(1, 64, 3), nn.InstanceNorm3d(64, affine=True))
    nn.init.constant_(network[1].weight, 3.0)
    before = network[0].weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99)
    state = SimpleNamespace(metrics={}, key_metric_name="val_dice")
    trainer = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        state.metrics["val_dice"] = dice[engine.state.epoch - 1]

    evaluator = SimpleNamespace(state=state)
    RestartOnZeroDice(evaluator, network, optimizer, epoch=3, seed=seed).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return network, before, optimizer.param_groups[0]["momentum"]


def test_zero_dice_at_the_epoch_gives_new_weights_and_less_momentum():
    network, before, momentum = trained([0, 0, 0, 0.5])
    assert momentum == 0.95
    weight = network[0].weight
    assert not torch.equal(weight, before)
    # Kaiming: variance 2 / ((1 + slope^2) fan), of 1728 weights
    assert weight.std().item() == pytest.approx((2 / (1.0001 * 27)) ** 0.5, rel=0.05)
    assert network[0].bias.eq(0).all()
    assert network[1].weight.eq(3).all()  # a norm's weights go on


@pytest.mark.parametrize("dice", [[0, 0, 1e-6, 0], [0.5, 0.5, 0.5, 0], [0, 0]])
def test_without_zero_dice_at_the_epoch_nothing_changes(dice):
    network, before, momentum = trained(dice, len(dice))
    assert momentum == 0.99
    assert torch.equal(network[0].weight, before)


def test_new_weights_are_those_of_the_seed_and_no_other_draw_moves():
    one, other, third = (trained([0, 0, 0, 0], seed=seed)[0][0].weight for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_a_restart_moves_no_other_draw():
    draws = []
    for dice in ([0, 0, 0], [0.5, 0.5, 0.5]):
        trained(dice, 3)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_the_overlay_restarts_before_the_checkpoint_is_saved(bundle_config, tmp_path):
    parser = bundle_config("mscsa_default", "train", "restart")
    handler = parser["train"]["handlers"][3]
    assert handler["_target_"].endswith(RunHandlers.__name__)
    assert handler["restart"]["_target_"].endswith("RestartOnZeroDice")
    assert (handler["restart"]["epoch"], handler["restart"]["momentum"]) == (101, 0.95)
    run = SimpleNamespace(checkpoints=tmp_path, resume=False, config_hash="")
    restart = RestartOnZeroDice(None, None, None)
    names = [
        type(one).__name__
        for one in RunHandlers(run, {}, None, None, seed=0, restart=restart).handlers
    ]
    assert names.index("RestartOnZeroDice") < names.index("AtomicCheckpoint")
