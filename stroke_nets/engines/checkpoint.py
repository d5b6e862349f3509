"""Best and last checkpoint of a training, written whole or not at all."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stroke_nets.engines.nnunet_weights import SCALARS, from_nnunet
from stroke_nets.errors import DataError, UsageError


def load_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """A checkpoint's weights, if they are this network's. Nothing in the file is executed.

    Args:
        path: a checkpoint of a run, a bare state dict, published ``.safetensors`` (halves become
            float32), or nnU-Net v2's ``checkpoint_final.pth``.
        network: may be on the meta device.

    Raises:
        UsageError: no such file.
        DataError: it cannot be read, or holds the weights of another network.
    """
    if not Path(path).is_file():
        raise UsageError(f"checkpoint {path}: no such file; train first or give --checkpoint")
    try:
        saved = _open(Path(path))
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        reason = type(error).__name__  # PyTorch's text is long, and advises to execute the file
        raise DataError(
            f"checkpoint {path}: cannot be read ({reason}); give one of a training"
        ) from error
    if not isinstance(saved, dict):
        raise DataError(f"checkpoint {path}: holds no weights; give one of a training")
    if "network_weights" in saved:
        return from_nnunet(saved["network_weights"], network, str(path))
    weights = saved.get("network", saved)
    wanted, found = _shapes(network.state_dict()), _shapes(weights)
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise DataError(
                f"checkpoint {path}: of another network: {name} is {found.get(name, 'missing')}, "
                f"wanted {wanted.get(name, 'none')}; give the overlay and widths of its training"
            )
    return dict(weights)


def _open(path: Path) -> Any:
    if path.suffix == ".safetensors":
        found = load_file(path)
        return {name: v.float() if v.is_floating_point() else v for name, v in found.items()}
    with torch.serialization.safe_globals(SCALARS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in weights.items()}


def load_network(network: nn.Module, path: str | Path) -> nn.Module:
    """A copy of a network with a checkpoint's weights, in evaluation mode.

    Args:
        network: on the meta device, where it takes no memory.
        path: a checkpoint of a run.

    Raises:
        UsageError: no such file.
        DataError: it cannot be read, or holds the weights of another network.
    """
    loaded = copy.deepcopy(network)
    loaded.load_state_dict(load_weights(path, network), assign=True)
    return loaded.eval()


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
