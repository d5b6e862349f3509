"""Hand the weights of a training in MONAI Label to its inference."""

from pathlib import Path

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from torch import nn


class TrainedWeights:
    """Replace a bundle's ``models/model.pt`` when a training is complete, whole or not at all.

    Args:
        network: the network that is trained.
        folder: the bundle's ``models``.
    """

    def __init__(self, network: nn.Module, folder: str) -> None:
        """Prepare the saver; nothing is written yet."""
        disk = DiskSaver(str(Path(folder)), atomic=True, require_empty=False)
        self.save = Checkpoint(
            {"model": network}, disk, filename_pattern="model.pt", include_self=False
        )

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.COMPLETED, self.save)
