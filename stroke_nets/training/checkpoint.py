"""Load weights, and save and resume trainings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from stroke_nets.errors import DataError, UsageError
from stroke_nets.runs.interruption import stop_on_signals
from stroke_nets.training import checkpoint_file
from stroke_nets.training.randomness import random_state, set_random_state
from stroke_nets.training.weights import load_into, load_network, load_weights

__all__ = ["AtomicCheckpoint", "load_into", "load_network", "load_weights"]


class AtomicCheckpoint:
    """Save the whole state after every epoch and resume from it, bit for bit on a CPU.

    ``epoch_<k>.pt`` are the states of the last epochs and the best one; ``last.pt`` and ``best.pt``
    link to two of them. An interrupted epoch is repeated from its start: its randomness, including
    the sampler's order, depends only on the seed and its number (`randomness.SeedEachEpoch`).

    Args:
        save_dir: the run's ``checkpoints`` folder.
        save_dict: what to save, by name: network, optimizer, lr_scheduler.
        evaluator: validation engine; ``best.pt`` follows its key metric (higher is better).
        resume: resume from the newest intact checkpoint, if there is one.
        config_hash: hash of the configuration, which must equal the checkpoint's.
        keep: number of epochs whose states are kept.
    """

    def __init__(
        self,
        save_dir: str,
        save_dict: Mapping[str, Any],
        evaluator: Engine | None = None,
        *,
        resume: bool = False,
        config_hash: str = "",
        keep: int = 2,
    ) -> None:
        """Store the options; nothing is read or written yet."""
        self.save_dir, self.save_dict, self.evaluator = Path(save_dir), dict(save_dict), evaluator
        self.resume, self.config_hash, self.keep = resume, config_hash, keep
        self.saved_epoch = 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._say(f"saved {self._saved()}"))

    def _start(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            checkpoint_file.sweep(self.save_dir)
        if self.resume:
            self._restore(engine)
        stop_on_signals(
            lambda: f"{self._saved()}; epoch {engine.state.epoch} is done again by --resume true"
        )

    def _save(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        self._require_finite(engine.state.epoch)
        state = {name: _plain(part).state_dict() for name, part in self.save_dict.items()}
        state |= {"trainer": _progress(engine), "random": random_state()}
        state |= {"config_hash": self.config_hash}
        if self.evaluator is not None:
            state["evaluator"] = _progress(self.evaluator)
        if getattr(engine, "scaler", None) is not None:  # MONAI's trainer has one under AMP
            state["scaler"] = engine.scaler.state_dict()  # type: ignore[attr-defined]
        checkpoint_file.save(checkpoint_file.epoch_file(self.save_dir, engine.state.epoch), state)
        self._name(engine.state.epoch)

    def _restore(self, engine: Engine) -> None:
        found = self._newest_whole()
        if found is None:
            return
        path, saved = found
        for name in [*self.save_dict, "trainer", "random", "config_hash"]:
            if name not in saved:
                raise UsageError(
                    f"checkpoint {path}: holds no {name}, so that training cannot go on from it; "
                    "it can predict (--checkpoint); train again with --overwrite true"
                )
        if saved["config_hash"] != self.config_hash:
            raise UsageError(
                f"checkpoint {path}: of another configuration; give the options of its training"
            )
        for name, part in self.save_dict.items():
            _plain(part).load_state_dict(saved[name])
        _advance(engine, saved["trainer"])
        if self.evaluator is not None:
            _advance(self.evaluator, saved["evaluator"])
        if getattr(engine, "scaler", None) is not None:
            engine.scaler.load_state_dict(saved["scaler"])  # type: ignore[attr-defined]
        set_random_state(saved["random"])
        self._say(f"resuming after epoch {engine.state.epoch} ({path})")
        if idist.get_rank() == 0:
            self._name(engine.state.epoch)

    def _newest_whole(self) -> tuple[Path, dict[str, Any]] | None:
        paths = checkpoint_file.newest_first(self.save_dir)
        for path in paths:
            try:
                return path, checkpoint_file.read(path)
            except DataError as error:
                self._say(f"{error}; falling back to the checkpoint before it")
        if paths:
            raise DataError(
                f"checkpoints in {self.save_dir}: none is whole; train again with --overwrite true"
            )
        return None

    def _name(self, epoch: int) -> None:
        """Link the last and the best state, and delete older ones."""
        last = checkpoint_file.epoch_file(self.save_dir, epoch)
        best = checkpoint_file.epoch_file(self.save_dir, self._best_epoch())
        if best.is_file():
            checkpoint_file.point(self.save_dir / checkpoint_file.BEST, best)
        if last.is_file():
            checkpoint_file.point(self.save_dir / checkpoint_file.LAST, last)
        for path in checkpoint_file.newest_first(self.save_dir)[self.keep :]:
            if path not in (last, best):
                checkpoint_file.remove(path)
        self.saved_epoch = epoch

    def _best_epoch(self) -> int:
        state: Any = self.evaluator and self.evaluator.state
        return -1 if state is None else int(state.best_metric_epoch)

    def _require_finite(self, epoch: int) -> None:
        for name, value in _plain(self.save_dict["network"]).state_dict().items():
            if not torch.isfinite(value).all():
                raise DataError(
                    f"checkpoint of epoch {epoch}: not saved, for {name} is no longer finite; "
                    "lower --learning_rate; the one before is kept"
                )

    def _saved(self) -> str:
        if self.saved_epoch == 0:
            return "nothing yet"
        text = f"{self.save_dir / checkpoint_file.LAST} (epoch {self.saved_epoch})"
        if self._best_epoch() > 0 and self.evaluator is not None:
            state: Any = self.evaluator.state  # MONAI adds its attributes at runtime
            text += (
                f" and {self.save_dir / checkpoint_file.BEST} (epoch {state.best_metric_epoch}, "
                f"{state.key_metric_name} {state.best_metric:.3f})"
            )
        return text

    def _say(self, text: str) -> None:
        if idist.get_rank() == 0:
            print(text, flush=True)


def _plain(part: Any) -> Any:
    """Unwrap a distributed network; return anything else unchanged."""
    return part.module if isinstance(part, nn.parallel.DistributedDataParallel) else part


def _progress(engine: Engine) -> dict[str, Any]:
    """An engine's progress in plain numbers."""
    state: Any = engine.state
    return {
        "epoch": state.epoch,
        "iteration": state.iteration,
        "epoch_length": state.epoch_length,
        "max_epochs": state.max_epochs,
        "best_metric": float(state.best_metric),
        "best_metric_epoch": state.best_metric_epoch,
    }


def _advance(engine: Engine, progress: Mapping[str, Any]) -> None:
    """Restore an engine's progress, except its number of epochs."""
    for name in ("epoch", "iteration", "best_metric", "best_metric_epoch"):
        setattr(engine.state, name, progress[name])
