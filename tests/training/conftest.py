"""Trainings of both protocols, tiny, and what they end with."""

import signal

import pytest
from ignite.engine import Events

from stroke_nets.runs.interruption import Interrupted
from stroke_nets.training import checkpoint_file

from .trainings import EPOCHS, PROTOCOLS


@pytest.fixture(params=PROTOCOLS, scope="module")
def protocol(request):
    """Stacks of slices, then patches."""
    return request.param


@pytest.fixture(scope="session")
def options(simulated, volume_cache):
    """A function: the options of a tiny training."""

    def given(protocol, folder, **more):
        where = {"dataset_dir": str(simulated), "cache_dir": str(volume_cache)}
        where["output_dir"] = str(folder)
        tiny = {"max_epochs": EPOCHS, "val_interval": 1, "num_workers": 0}
        return PROTOCOLS[protocol][1] | where | tiny | more

    return given


@pytest.fixture(scope="session")
def training(workflow, options):
    """A function: an initialised workflow and its trainer, interrupted at the end of a batch."""

    def start(protocol, folder, killed_at=None, **more):
        given = options(protocol, folder, **more)
        flow = workflow(PROTOCOLS[protocol][0], "train", kind="train", **given)
        trainer = flow.parser.get_parsed_content("train#trainer")

        def kill(engine):
            if engine.state.iteration == killed_at:
                raise Interrupted(signal.SIGTERM, "the test")

        trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
        return flow, trainer

    return start


@pytest.fixture(scope="session")
def last():
    """A function: what the last checkpoint of a run folder holds."""
    return lambda folder: checkpoint_file.read(folder / "checkpoints" / "last.pt")
