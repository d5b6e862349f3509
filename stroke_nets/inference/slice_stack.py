"""Sweep a volume slice by slice, each slice with its neighbours as channels."""

from collections.abc import Callable, Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor

from stroke_nets.inference.sliding_patch import untold
from stroke_nets.training.slices import OFFSETS, slice_stacks


class SliceStackInferer(Inferer):
    """Predict every slice of a volume from its stack; empty stacks share one prediction.

    ``on_tile`` may be set to a callable that is told after each batch how many are done, of how
    many.

    Args:
        batch_size: slices given to the network at once.
        offsets: the S slices of a stack, as `slice_stacks` takes them.

    Raises:
        ValueError: the offsets are not consecutive, or 0 is not among them.
    """

    def __init__(self, batch_size: int = 16, offsets: Sequence[int] = OFFSETS) -> None:
        """Store the batch size and the offsets."""
        super().__init__()
        if list(offsets) != list(range(offsets[0], offsets[-1] + 1)) or 0 not in offsets:
            raise ValueError(f"offsets {list(offsets)}: give consecutive numbers, 0 among them")
        self.batch_size = batch_size
        self.offsets = tuple(offsets)
        self.on_tile = untold

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Sweep each volume.

        Args:
            inputs: B x 1 x H x W x D.
            network: maps N x S x H x W to N x 1 x H x W.

        Returns:
            B x 1 x H x W x D.
        """
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        swept = torch.stack([self._sweep(volume[0], network) for volume in volumes])
        return convert_to_dst_type(swept, inputs)[0]  # with the scan's affine, if it has one

    def _sweep(self, volume: Tensor, network: Callable[..., Tensor]) -> Tensor:
        stacks = slice_stacks(volume, self.offsets)
        chosen, place = _first_alike(stacks).unique(return_inverse=True)
        batches = chosen.split(self.batch_size)
        parts = []
        for number, batch in enumerate(batches, 1):
            parts.append(network(stacks[batch].contiguous()))
            self.on_tile(number, len(batches))
        return torch.cat(parts)[place].permute(1, 2, 3, 0)


def _first_alike(stacks: Tensor) -> Tensor:
    """For each stack of D x S x H x W its own number; the first one's for those of one value.

    They lie outside the brain, and the network need see only one of them.
    """
    low, high = stacks.amin((1, 2, 3)), stacks.amax((1, 2, 3))
    first = torch.arange(len(stacks), device=stacks.device)
    for value in low[low == high].unique():
        alike = ((low == value) & (high == value)).nonzero()[:, 0]
        first[alike] = alike[0]
    return first
