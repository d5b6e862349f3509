"""Sweep a volume slice by slice, each slice with its neighbours as channels."""

from collections.abc import Callable

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor
from torch.nn.functional import pad

from stroke_nets.data.slices import OFFSETS


def slice_stacks(volume: Tensor) -> Tensor:
    """All stacks of a volume (Sec. 4.1).

    Args:
        volume: H x W x D.

    Returns:
        D x 4 x H x W: slices i-2, i-1, i, i+1, zeros outside the volume; a view of one padded copy.
    """
    slices = pad(volume, (-OFFSETS[0], OFFSETS[-1])).permute(2, 0, 1)
    return slices.unfold(0, len(OFFSETS), 1).permute(0, 3, 1, 2)


class SliceStackInferer(Inferer):
    """Predict every slice of a volume from its stack.

    Args:
        batch_size: slices given to the network at once.
    """

    def __init__(self, batch_size: int = 16) -> None:
        """Store the batch size."""
        super().__init__()
        self.batch_size = batch_size

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Sweep each volume.

        Args:
            inputs: B x 1 x H x W x D.
            network: maps N x 4 x H x W to N x 1 x H x W.

        Returns:
            B x 1 x H x W x D.
        """
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        swept = torch.stack([self._sweep(volume[0], network) for volume in volumes])
        return convert_to_dst_type(swept, inputs)[0]  # with the scan's affine, if it has one

    def _sweep(self, volume: Tensor, network: Callable[..., Tensor]) -> Tensor:
        stacks = slice_stacks(volume).split(self.batch_size)
        return torch.cat([network(s.contiguous()) for s in stacks]).permute(1, 2, 3, 0)
