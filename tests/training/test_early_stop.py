from types import SimpleNamespace

import pytest
from ignite.engine import Engine, Events

from stroke_nets.training.early_stop import EarlyStop


@pytest.mark.parametrize(
    ("best", "ends"),
    [
        ({2: 2, 4: 4}, 8),  # validated every 2 epochs, best at 4: two worse ones are enough
        ({2: -1, 4: -1}, 12),  # no metric yet
        ({2: 2, 4: 4, 6: 6, 8: 8, 10: 10, 12: 12}, 12),
    ],
)
def test_it_ends_after_as_many_validations_without_a_better_one(best, ends):
    evaluator = SimpleNamespace(state=SimpleNamespace(best_metric_epoch=-1))
    trainer = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.state.best_metric_epoch = best.get(
            engine.state.epoch, evaluator.state.best_metric_epoch
        )

    EarlyStop(evaluator, patience=2, interval=2).attach(trainer)
    assert trainer.run([0], max_epochs=12).epoch == ends
