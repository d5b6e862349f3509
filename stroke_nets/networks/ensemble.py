"""Several networks that vote by their mean class probabilities (MSCSA, arXiv:2501.15423)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Mean probabilities of networks that are made one at a time and freed again.

    Args:
        members: each makes one network with its weights, in evaluation mode.
    """

    def __init__(self, members: Sequence[Callable[[], nn.Module]]) -> None:
        """Keep the recipes; no network is made yet."""
        super().__init__()
        self.members = list(members)

    def mean(self, predict: Callable[[nn.Module], Tensor]) -> Tensor:
        """The mean of what ``predict`` makes of each network, with one network in memory.

        (MONAI's ``EnsembleEvaluator`` and ``MeanEnsemble`` hold all networks and predictions.)
        """
        first, *others = self.members
        total = predict(first())
        for count, make in enumerate(others, start=2):
            total.lerp_(predict(make()), 1 / count)
        return total

    def forward(self, x: Tensor) -> Tensor:
        """Predict one tile.

        Args:
            x: B x 1 x D x H x W.

        Returns:
            Logits B x C x D x H x W, whose softmax is the members' mean softmax in float32.
        """
        return self.mean(lambda member: member.to(x.device)(x).float().softmax(1)).log()


class HeldEnsemble(Ensemble):
    """The same with all networks in memory, so that one checkpoint holds them all.

    Args:
        networks: the members, whose weights are this module's.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Hold the networks."""
        super().__init__([partial(_itself, network) for network in networks])
        self.networks = nn.ModuleList(networks)


def _itself(network: nn.Module) -> nn.Module:
    return network


class AnyLesion(nn.Module):
    """Merge a network's lesion classes into one, so that labelings can vote together.

    Args:
        network: returns logits B x C x D x H x W, background first.
    """

    def __init__(self, network: nn.Module) -> None:
        """Hold the network."""
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits B x 2 x D x H x W, whose softmax is that of background and of any lesion."""
        log = self.network(x).float().log_softmax(1)
        return torch.cat([log[:, :1], log[:, 1:].logsumexp(1, keepdim=True)], dim=1)


def any_lesion(load: Callable[[], nn.Module]) -> AnyLesion:
    """`AnyLesion` of a network that is made now, in evaluation mode."""
    return AnyLesion(load()).eval()
