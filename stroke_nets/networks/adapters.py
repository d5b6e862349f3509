"""Adapt other libraries' networks to AGMR-Net's protocol: slices in, one plane of logits out.

Each adapter wraps a network. Shape letters: B batch, S input slices, H and W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def without_last(modules: nn.Sequential) -> nn.Sequential:
    """Remove the last module of a sequence in place, such as a backbone's final pooling."""
    del modules[-1]
    return modules


class SliceAdapter(nn.Module):
    """Pad sizes that the network cannot halve with zeros, and crop its logits.

    Args:
        network: the network; its H and W must be divisible by `multiple`.
        multiple: required divisor of H and W.
        smallest_batch: minimum batch size in training; 2 if batch norm follows a global pool, which
            leaves one value per channel and slice.
    """

    def __init__(self, network: nn.Module, multiple: int = 16, smallest_batch: int = 1) -> None:
        """Store the network and its requirements."""
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.smallest_batch = smallest_batch

    def padded(self, slices: Tensor) -> Tensor:
        """Pad (B, S, H, W) at the bottom and right.

        Raises:
            ValueError: the batch is too small for a training step.
        """
        if self.training and slices.shape[0] < self.smallest_batch:
            raise ValueError(
                f"this network trains on batches of {self.smallest_batch} slices or more, "
                f"got {slices.shape[0]}; raise batch_size"
            )
        below = (self.multiple - slices.shape[2] % self.multiple) % self.multiple
        right = (self.multiple - slices.shape[3] % self.multiple) % self.multiple
        return F.pad(slices, (0, right, 0, below))

    def cut(self, logits: Tensor, slices: Tensor) -> Tensor:
        """Remove the padding from the logits."""
        return logits[..., : slices.shape[2], : slices.shape[3]]


class PaddedSlices(SliceAdapter):
    """For a network that maps (B, S, H, W) to (B, 1, H, W)."""

    def forward(self, slices: Tensor) -> Tensor:
        """Segment (B, S, H, W) into logits (B, 1, H, W)."""
        return self.cut(self.network(self.padded(slices)), slices)


class LastHead(SliceAdapter):
    """For a network that returns a list of logits, one for each depth (U-Net++).

    In training, a call returns a tuple: the last head's logits and the list of the others'. In
    evaluation, and in TorchScript, it returns the last head's.
    """

    def forward(self, slices: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Segment (B, S, H, W) into logits (B, 1, H, W), and the other heads' in training."""
        heads = [self.cut(logits, slices) for logits in self.network(self.padded(slices))]
        if self.training and not torch.jit.is_scripting():
            return heads[-1], heads[:-1]
        return heads[-1]


class SliceOfVolume(SliceAdapter):
    """For a 3D network: the slices are the depth of its volume, and one of them is returned."""

    def __init__(self, network: nn.Module, index: int = 2, multiple: int = 16) -> None:
        """Take a network of (B, 1, H, W, S) and the number (from 0) of the slice to return."""
        super().__init__(network, multiple)
        self.index = index

    def forward(self, slices: Tensor) -> Tensor:
        """Segment (B, S, H, W) into logits (B, 1, H, W)."""
        volume = self.padded(slices).permute(0, 2, 3, 1)[:, None]
        return self.cut(self.network(volume)[..., self.index], slices)


class ScatterUnpool(nn.Module):
    """A traceable ``nn.MaxUnpool2d(2)``, which PyTorch 2.13 cannot trace."""

    def forward(self, pooled: Tensor, indices: Tensor) -> Tensor:
        """Scatter (B, C, H, W) to the positions of the maxima in zeros (B, C, 2H, 2W)."""
        batch, channels, height, width = pooled.shape
        plane = pooled.new_zeros(batch, channels, 4 * height * width)
        plane = plane.scatter(2, indices.flatten(2), pooled.flatten(2))
        return plane.view(batch, channels, 2 * height, 2 * width)


def traceable_unpooling(network: nn.Module) -> nn.Module:
    """Replace every unpooling layer with `ScatterUnpool`, in place."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxUnpool2d):
                setattr(parent, name, ScatterUnpool())
    return network
