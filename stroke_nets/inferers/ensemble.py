"""Sweep a volume with one network of an ensemble after another."""

from monai.inferers import Inferer
from torch import Tensor

from stroke_nets.networks.ensemble import Ensemble, running_mean


class EnsembleInferer(Inferer):
    """Mean probabilities of an ensemble, with one network and one mean in memory.

    (MONAI's ``EnsembleEvaluator`` and ``MeanEnsemble`` hold all networks and all predictions.)

    Args:
        inferer: gives one network's probabilities, such as `PatchInferer`.
    """

    def __init__(self, inferer: Inferer) -> None:
        """Store the inferer."""
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Ensemble) -> Tensor:
        """Sweep the volumes with each member.

        Args:
            inputs: B x 1 x D x H x W.
            network: the ensemble.

        Returns:
            Probabilities, B x C x D x H x W, float32.
        """
        members = (member.to(inputs.device) for member in network)
        return running_mean(self.inferer(inputs, member) for member in members)
