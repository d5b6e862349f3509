"""Row T16: a loss that is not finite stops the training."""

import re

import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents

from stroke_nets.errors import DataError
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.training.finite_loss import FiniteLoss


@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
def test_T16_nan_loss_stops_and_names_the_cases(training, last, protocol, tmp_path):
    flow, trainer = training(protocol, tmp_path)
    loss = trainer.loss_function
    done = iter(range(100))
    trainer.loss_function = lambda *x: loss(*x) * (float("nan") if next(done) == 4 else 1)
    with pytest.raises(RuntimeError) as raised:
        flow.run()
    found = find_error(raised.value)
    assert isinstance(found, DataError)
    assert re.match(r"sub-\d/anat/sub-\d_T1w.nii.gz.*: the loss is nan in epoch 2;", str(found))
    assert last(tmp_path)["trainer"]["epoch"] == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_T16_no_loss_but_a_finite_one_passes(value):
    def step(engine, loss):
        engine.state.output = {"loss": loss}
        engine.state.batch = {"case": ["sub-1", "sub-1", "sub-2"]}
        engine.fire_event(IterationEvents.LOSS_COMPLETED)

    trainer = Engine(step)
    trainer.register_events(*IterationEvents)
    FiniteLoss().attach(trainer)
    trainer.run([torch.tensor(1e30)])
    with pytest.raises(DataError, match=f"^sub-1, sub-2: the loss is {value} in epoch 1"):
        trainer.run([torch.tensor(float(value))])
