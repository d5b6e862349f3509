"""Clip gradients between MONAI's backward pass and its optimiser step."""

from collections.abc import Iterable

from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.nn.utils import clip_grad_norm_


class GradientClipping:
    """Clip the total gradient norm to ``max_norm``, also with AMP.

    Args:
        parameters: parameters of the trained network.
        max_norm: maximum L2 norm.
    """

    def __init__(self, parameters: Iterable[Tensor], max_norm: float) -> None:
        """Store the options."""
        self.parameters, self.max_norm = list(parameters), max_norm

    def attach(self, engine: Engine) -> None:
        """Attach to a `monai.engines.SupervisedTrainer`."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        scaler = getattr(engine, "scaler", None)  # MONAI's trainer has one under AMP
        if scaler is not None:
            scaler.unscale_(engine.optimizer)  # type: ignore[attr-defined]
        clip_grad_norm_(self.parameters, self.max_norm)
