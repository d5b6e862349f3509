"""Random numbers in training depend only on the seed, the process and the epoch.

An epoch that is repeated after an interruption is therefore identical.
"""

import random
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import set_determinism


def seed_process(seed: int) -> None:
    """Seed Python, NumPy and PyTorch before a training begins, each process differently."""
    set_determinism(seed=seed + idist.get_rank())


class SeedEachEpoch:
    """Reseed Python, NumPy and PyTorch at each epoch's start: order, dropout, loader workers.

    Args:
        seed: seed of the whole training.
        dataset: if it draws random numbers, like `PatchDataset`; its ``set_epoch`` is called.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        """Store both."""
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        epoch = engine.state.epoch - 1
        words = np.random.SeedSequence([self.seed, idist.get_rank(), epoch])
        set_determinism(seed=int(words.generate_state(1)[0]))
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def random_state() -> dict[str, Any]:
    """The states of the generators: Python's, NumPy's, PyTorch's and this process's GPU's."""
    numpy: Any = np.random.get_state()  # noqa: NPY002 - the one that MONAI uses
    return {
        "python": random.getstate(),
        "numpy": (numpy[0], numpy[1].tolist(), *numpy[2:]),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the generators' states from `random_state`."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
