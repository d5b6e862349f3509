"""Blocks that map a 3D branch to a 2D one, for CFF and the fusions it is compared with.

Shape letters: B batch, C channels, D slices, H and W rows and columns of the stage.
"""

import torch
from torch import Tensor, nn


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int = 3, dims: int = 2
) -> nn.Sequential:
    """Size-preserving convolution (with bias), batch norm and ReLU, in 2 or 3 dimensions."""
    conv, norm = (nn.Conv3d, nn.BatchNorm3d) if dims == 3 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(
        conv(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        norm(out_channels),
        nn.ReLU(inplace=True),
    )


def channel_gate(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Two bias-free linear layers and a sigmoid: a weight in (0, 1) for each channel."""
    return nn.Sequential(
        nn.Linear(in_channels, hidden, bias=False),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out_channels, bias=False),
        nn.Sigmoid(),
    )


def pooled(features: Tensor) -> Tensor:
    """Global average pool, (B, C, H, W) to (B, C)."""
    return features.mean(dim=(2, 3))


class VolumeToPlane(nn.Module):
    """The first step of AGMR-Net's eq. 5-8: map a volume to a plane T with the same channels.

    A 1x1x1 convolution reduces the channels to one, the slices become the channels of a plane,
    and a 3x3 convolution expands them to C.
    """

    def __init__(self, channels: int, depth: int) -> None:
        """Take C and the number of slices D left at this stage."""
        super().__init__()
        self.squeeze = nn.Conv3d(channels, 1, kernel_size=1)
        self.expand = conv_bn_relu(depth, channels)

    def forward(self, volume: Tensor) -> Tensor:
        """Map a volume (B, C, D, H, W) to a plane (B, C, H, W)."""
        plane: Tensor = self.expand(torch.squeeze(self.squeeze(volume), 1))
        return plane
