"""Several networks that vote by their mean class probabilities (the ensemble of arXiv:2501.15423)."""

from collections.abc import Callable, Iterator, Sequence

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

    def __iter__(self) -> Iterator[nn.Module]:
        """The networks, one after another."""
        return (make() for make in self.members)

    def forward(self, x: Tensor) -> Tensor:
        """Predict one tile.

        Args:
            x: B x 1 x D x H x W.

        Returns:
            Logits B x C x D x H x W, whose softmax is the members' mean softmax in float32.
        """
        return running_mean(network.to(x.device)(x).float().softmax(1) for network in self).log()


def running_mean(tensors: Iterator[Tensor]) -> Tensor:
    """The mean of tensors of one shape, holding one of them and the mean."""
    mean = next(tensors).clone()
    for count, tensor in enumerate(tensors, start=2):
        mean.lerp_(tensor, 1 / count)
    return mean
