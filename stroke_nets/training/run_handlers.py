"""The handlers that every training has, in the order in which they must be attached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardStatsHandler, from_engine

from stroke_nets.files import naming
from stroke_nets.runs.run_folder import RunFolder
from stroke_nets.training.checkpoint import AtomicCheckpoint
from stroke_nets.training.early_stop import EarlyStop
from stroke_nets.training.finite_loss import FiniteLoss
from stroke_nets.training.progress import TrainingProgress
from stroke_nets.training.randomness import SeedEachEpoch
from stroke_nets.training.restart import RestartOnZeroDice
from stroke_nets.training.validation_pictures import ValidationPictures


class Curves(TensorBoardStatsHandler):
    """TensorBoard's curves; if they cannot be written, the error names their folder.

    Args:
        log_dir: the folder.
        how: as of MONAI's handler.
    """

    def __init__(self, log_dir: str, **how: Any) -> None:
        """Open the folder's log."""
        self.folder = Path(log_dir)
        with naming(self.folder):
            super().__init__(log_dir=log_dir, **how)

    def iteration_completed(self, engine: Engine) -> None:
        """Write the loss of a step."""
        with naming(self.folder):
            super().iteration_completed(engine)

    def epoch_completed(self, engine: Engine) -> None:
        """Write the metrics of an epoch."""
        with naming(self.folder):
            super().epoch_completed(engine)


class RunHandlers:
    """Attach the handlers that make a training reproducible, resumable and visible.

    In this order: `SeedEachEpoch` (a repeated epoch is identical), `FiniteLoss` (a NaN loss ends
    the training and names its cases), `EarlyStop`, `AtomicCheckpoint` (saves and resumes), and on
    the first process `TrainingProgress` (a bar, and a line per epoch), TensorBoard's curves of both
    engines and `ValidationPictures` of the first cases.

    List it in ``train#handlers`` after the scheduler and the validation, whose results it saves.

    Args:
        run: the open run folder.
        saved: contents of a checkpoint, by name: network, optimizer, lr_scheduler.
        dataset: training data set; its ``set_epoch`` is called if it has one.
        evaluator: validation engine; its key metric determines the best checkpoint.
        seed: seed of the whole training.
        patience: validations without improvement after which training ends; None: never.
        interval: number of epochs between validations.
        restart: starts a training again whose Dice stays zero; None: never.
    """

    def __init__(
        self,
        run: RunFolder,
        saved: Mapping[str, Any],
        dataset: Any,
        evaluator: Engine,
        *,
        seed: int,
        patience: int | None = None,
        interval: int = 1,
        restart: RestartOnZeroDice | None = None,
    ) -> None:
        """Build the handlers; nothing is written yet."""
        self.run, self.evaluator = run, evaluator
        self.handlers: list[Any] = [SeedEachEpoch(seed, dataset), FiniteLoss()]
        if restart is not None:
            self.handlers.append(restart)
        if patience is not None:
            self.handlers.append(EarlyStop(evaluator, patience, interval))
        self.handlers.append(
            AtomicCheckpoint(
                str(run.checkpoints),
                saved,
                evaluator,
                resume=run.resume,
                config_hash=run.config_hash,
            )
        )

    def attach(self, engine: Engine) -> None:
        """Attach to a `monai.engines.SupervisedTrainer`."""
        engine.add_event_handler(Events.STARTED, self.run.begin)
        for handler in self.handlers:
            handler.attach(engine)
        if idist.get_rank() == 0:
            self._show(engine)

    def _show(self, engine: Engine) -> None:
        TrainingProgress(self.evaluator).attach(engine)
        folder, loss = str(self.run.events), from_engine("loss", first=True)
        Curves(log_dir=folder, tag_name="train_loss", output_transform=loss).attach(engine)
        Curves(log_dir=folder, iteration_log=False).attach(self.evaluator)
        ValidationPictures(self.run.path / "validation").attach(self.evaluator)
