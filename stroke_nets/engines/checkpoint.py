"""Best and last checkpoint of a training, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver

from stroke_nets.errors import UsageError


def require_checkpoint(path: str) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        UsageError: no such file.
    """
    if not Path(path).is_file():
        raise UsageError(f"checkpoint {path}: no such file; train first or give --checkpoint")


class AtomicCheckpoint:
    """Save ``last.pt`` after every epoch and ``best.pt`` after the best validation.

    MONAI's ``CheckpointSaver`` writes in place; Ignite's ``DiskSaver`` renames a finished file.

    Args:
        save_dir: the run's ``checkpoints`` folder.
        save_dict: what to save, by name: network, optimizer, lr_scheduler.
        evaluator: validation engine; ``best.pt`` follows its key metric (higher is better).
    """

    def __init__(
        self, save_dir: str, save_dict: Mapping[str, Any], evaluator: Engine | None = None
    ) -> None:
        """Prepare the savers; nothing is written yet."""
        self.save_dir, self.save_dict, self.evaluator = Path(save_dir), dict(save_dict), evaluator

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        last = self._saver("last.pt", engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, last)
        if self.evaluator is not None:
            best = self._saver("best.pt", engine, score_function=_key_metric)
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, best)
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.COMPLETED, self._say_what_is_saved)

    def _saver(self, name: str, trainer: Engine, **options: Any) -> Checkpoint:
        disk = DiskSaver(str(self.save_dir), atomic=True, create_dir=True, require_empty=False)
        return Checkpoint(
            {**self.save_dict, "trainer": trainer},
            disk,
            filename_pattern=name,
            include_self=False,
            **options,
        )

    def _say_what_is_saved(self, engine: Engine) -> None:
        text = f"saved {self.save_dir / 'last.pt'} (epoch {engine.state.epoch})"
        if self.evaluator is not None and (self.save_dir / "best.pt").exists():
            state: Any = self.evaluator.state  # MONAI adds its attributes at run time
            text += (
                f" and {self.save_dir / 'best.pt'} (epoch {state.best_metric_epoch}, "
                f"{state.key_metric_name} {state.best_metric:.3f})"
            )
        print(text, flush=True)


def _key_metric(engine: Engine) -> float:
    state: Any = engine.state
    return float(state.metrics[state.key_metric_name])
