"""The two Keras callbacks on the validation loss used to train X-Net and CLCI-Net.

Source: ``main.py`` of X-Net (https://github.com/Andrewsher/X-Net), ``ReduceLROnPlateau`` and
``EarlyStopping``.
"""

from collections.abc import Callable, Iterable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


class ValidationLoss:
    """The mean loss of a network over validation volumes, computed after each epoch.

    Args:
        network: returns logits.
        loss: takes logits and label of one volume.
        loader: dictionaries with ``image`` and ``label``, B x 1 x H x W x D.
        inferer: takes a volume and the network.
        device: where the network is.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        loader: Iterable[dict[str, Tensor]],
        inferer: Callable[[Tensor, nn.Module], Tensor],
        device: torch.device,
    ) -> None:
        """Store the arguments."""
        self.network, self.loss, self.loader = network, loss, loader
        self.inferer, self.device = inferer, device

    @torch.no_grad()
    def __call__(self, engine: Engine) -> tuple[float, Engine]:
        """The mean over all processes' volumes and the engine, as arguments of `PlateauLR.step`."""
        training = self.network.training
        self.network.eval()
        losses = []
        for batch in self.loader:
            image, label = (batch[key].to(self.device) for key in ("image", "label"))
            losses.append(float(self.loss(self.inferer(image, self.network), label)))
        self.network.train(training)
        total, count = idist.all_reduce(sum(losses)), idist.all_reduce(len(losses))
        return float(total) / int(count), engine


class PlateauLR(ReduceLROnPlateau):
    """Reduce the learning rate when the validation loss stagnates, and later end the training.

    The counters are part of the scheduler's state, so a resumed training ends at the same epoch as
    an uninterrupted one.

    Args:
        optimizer: its learning rate is reduced.
        factor: factor by which the learning rate is multiplied.
        patience: epochs without a loss lower by ``min_delta`` before the rate is reduced. (As
            Keras counts; PyTorch reduces it one epoch later.)
        min_delta: minimum decrease of the loss that counts for ``patience``.
        stop_patience: epochs without any lower loss before the training ends.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.2,
        patience: int = 3,
        min_delta: float = 1e-3,
        stop_patience: int = 5,
    ) -> None:
        """Start without a loss."""
        super().__init__(
            optimizer,
            factor=factor,
            patience=patience - 1,
            threshold=min_delta,
            threshold_mode="abs",
        )
        self.stop_patience = stop_patience
        self.lowest, self.epochs_since = float("inf"), 0

    def step(self, loss: Any, engine: Any = None) -> None:  # type: ignore[override]
        """Take an epoch's validation loss and the trainer, which is terminated if necessary."""
        super().step(loss)
        self.epochs_since = 0 if loss < self.lowest else self.epochs_since + 1
        self.lowest = min(self.lowest, loss)
        if self.epochs_since >= self.stop_patience:
            engine.terminate()
