"""Sweep a volume with one network of an ensemble after another."""

from typing import Any

from monai.inferers import Inferer
from torch import Tensor


class EnsembleInferer(Inferer):
    """Mean probabilities of an ensemble, with one network and one mean in memory.

    Args:
        inferer: gives one network's probabilities, such as `PatchInferer`.
    """

    def __init__(self, inferer: Inferer) -> None:
        """Store the inferer."""
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Any) -> Tensor:
        """Sweep the volumes with each member.

        Args:
            inputs: B x 1 x D x H x W.
            network: a `stroke_nets.networks.ensemble.Ensemble`.

        Returns:
            Probabilities, B x C x D x H x W, float32.
        """
        swept: Tensor = network.mean(lambda one: self.inferer(inputs, one.to(inputs.device)))
        return swept
