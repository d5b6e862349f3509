"""Hand the weights and the progress of a training in MONAI Label to its server."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from torch import nn

from stroke_nets.files import whole

PROGRESS = "progress.json"  # beside the weights


class TrainedWeights:
    """Replace a bundle's ``models/model.pt`` when a training is complete, whole or not at all.

    After every epoch, the progress is written as 3D Slicer's module shows it.

    Args:
        network: the network that is trained.
        folder: the bundle's ``models``.
        evaluator: the validation's, whose best metric is shown.
    """

    def __init__(self, network: nn.Module, folder: str, evaluator: Engine | None = None) -> None:
        """Prepare the saver; nothing is written yet."""
        disk = DiskSaver(str(Path(folder)), atomic=True, require_empty=False)
        self.save = Checkpoint(
            {"model": network}, disk, filename_pattern="model.pt", include_self=False
        )
        self.file, self.evaluator, self.begin = Path(folder) / PROGRESS, evaluator, 0.0

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self._write, complete=True)

    def _start(self, engine: Engine) -> None:
        self.begin = time.time()
        self._write(engine)

    def _write(self, engine: Engine, complete: bool = False) -> None:
        state: Any = self.evaluator.state if self.evaluator else None
        spent = time.strftime("%H:%M:%S", time.gmtime(time.time() - self.begin))
        progress = {
            "epoch": engine.state.epoch,
            "total_epochs": engine.state.max_epochs,
            "start_ts": int(self.begin),
            "total_time" if complete else "current_time": spent,
            "best_metric": max(0.0, float(getattr(state, "best_metric", 0.0) or 0.0)),
        }
        with whole(self.file) as partial:
            partial.write_text(json.dumps(progress))


def read_progress(bundle: str) -> dict[str, Any]:
    """The progress of a served bundle's training; empty if there was none."""
    try:
        found = json.loads((Path(bundle) / "models" / PROGRESS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def newest_first(stats: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The progress of all trainings by their bundle, the one that began last first."""
    names = sorted(stats, key=lambda name: stats[name].get("start_ts", 0), reverse=True)
    return {name: stats[name] for name in names}
