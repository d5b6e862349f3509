"""Ensembles that average class probabilities (MSCSA, arXiv:2501.15423)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Mean probabilities of networks that are created one at a time and then freed.

    Args:
        members: each returns a network with its weights, in evaluation mode.
    """

    def __init__(self, members: Sequence[Callable[[], nn.Module]]) -> None:
        """Store the factories; no network is created yet."""
        super().__init__()
        self.members = list(members)

    def mean(self, predict: Callable[[nn.Module], Tensor]) -> Tensor:
        """The mean of ``predict`` over the networks, with one network in memory at a time.

        (MONAI's ``EnsembleEvaluator`` and ``MeanEnsemble`` keep all networks and predictions.)
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
    """An ensemble with all networks in memory, so that one checkpoint contains them all.

    Args:
        networks: the members, whose weights are this module's.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Store the networks."""
        super().__init__([partial(_itself, network) for network in networks])
        self.networks = nn.ModuleList(networks)


def _itself(network: nn.Module) -> nn.Module:
    return network


class AnyLesion(nn.Module):
    """Merge a network's lesion classes into one, so that different labelings can be averaged.

    Args:
        network: returns logits B x C x D x H x W, background first.
    """

    def __init__(self, network: nn.Module) -> None:
        """Store the network."""
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits B x 2 x D x H x W, whose softmax is that of background and of any lesion."""
        log = self.network(x).float().log_softmax(1)
        return torch.cat([log[:, :1], log[:, 1:].logsumexp(1, keepdim=True)], dim=1)


def any_lesion(load: Callable[[], nn.Module]) -> AnyLesion:
    """Create a network and wrap it in `AnyLesion`, in evaluation mode."""
    return AnyLesion(load()).eval()
