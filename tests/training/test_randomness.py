"""What is drawn in an epoch depends on the seed, the process and the epoch alone."""

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine

from stroke_nets.training.randomness import SeedEachEpoch, random_state, set_random_state


def test_random_state_comes_back():
    state = random_state()
    drawn = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    set_random_state(state)
    assert torch.equal(drawn[0], torch.rand(3))
    np.testing.assert_array_equal(drawn[1], np.random.rand(3))  # noqa: NPY002


@pytest.fixture
def draws(monkeypatch):
    """A function: what a process of a training draws in each of its epochs."""

    def drawn(seed, rank, epochs=2):
        monkeypatch.setattr(idist, "get_rank", lambda: rank)
        found = []
        trainer = Engine(lambda engine, batch: found.append(torch.rand(4).tolist()))
        SeedEachEpoch(seed).attach(trainer)
        trainer.run([0], max_epochs=epochs)
        return found

    state = random_state()
    yield drawn
    set_random_state(state)


def test_each_epoch_of_each_process_draws_other_numbers(draws):
    found = [*draws(0, rank=0), *draws(0, rank=1), *draws(1, rank=0)]
    assert len({tuple(numbers) for numbers in found}) == len(found) == 6
    assert draws(0, rank=1) == found[2:4]


def test_a_dataset_is_told_its_epoch():
    class Told:
        epochs: list[int] = []  # noqa: RUF012

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    trainer = Engine(lambda engine, batch: None)
    SeedEachEpoch(0, Told()).attach(trainer)
    trainer.run([0], max_epochs=3)
    assert Told.epochs == [0, 1, 2]
