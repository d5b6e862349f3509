"""D-UNet, a 2D U-Net fused with a shallow 3D encoder over the same slices.

Zhou, Huang, Dong, Xia, Wang: "D-UNet: A Dimension-Fusion U Shape Network for Chronic Stroke
Lesion Segmentation" (2019). 8,633,379 parameters and 6,784 batch-norm statistics: 8,640,163.

Shape letters: B batch, S input slices, C channels, D slices left at a stage, H and W rows and
columns of the current stage.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stroke_nets.networks.blocks.kaiming import kaiming_init
from stroke_nets.networks.blocks.keras_layers import (
    batch_norm,
    check_slices,
    double_conv,
    same_conv,
)
from stroke_nets.networks.blocks.volume_to_plane import channel_gate, pooled


def double_conv3d(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3 x 3 x 3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        conv = nn.Conv3d(channels, out_channels, kernel_size=3, padding=1)
        layers += [conv, batch_norm(out_channels, dims=3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """SE: each channel times a weight computed from all channels' means."""

    def __init__(self, channels: int, ratio: int = 16) -> None:
        """Take C; the gate's hidden layer has C / ratio units."""
        super().__init__()
        self.gate = channel_gate(channels, max(1, channels // ratio), channels)

    def forward(self, features: Tensor) -> Tensor:
        """Weight (B, C, H, W)."""
        weighted: Tensor = features * self.gate(pooled(features))[:, :, None, None]
        return weighted


class DimensionFusion(nn.Module):
    """The dimension transform block: SE(T) + SE(2D), where T is the volume mapped to a plane."""

    def __init__(self, channels: int, depth: int) -> None:
        """Take C and the number of slices D left at this stage."""
        super().__init__()
        self.squeeze = nn.Conv3d(channels, 1, kernel_size=1)
        self.expand = nn.Sequential(same_conv(depth, channels, 3), nn.ReLU(inplace=True))
        self.volume_excite = SqueezeExcite(channels)
        self.plane_excite = SqueezeExcite(channels)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        flat = self.expand(torch.squeeze(self.squeeze(volume), 1))
        fused: Tensor = self.volume_excite(flat) + self.plane_excite(plane)
        return fused


class VolumeEncoder(nn.Module):
    """The 3D branch: three blocks with 2 x 2 x 2 max pools between."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Take the channels of the three stages."""
        super().__init__()
        first, second, third = widths
        self.stage1 = double_conv3d(1, first)
        self.stage2 = nn.Sequential(nn.MaxPool3d(2), double_conv3d(first, second))
        self.stage3 = nn.Sequential(nn.MaxPool3d(2), double_conv3d(second, third))

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, 1, S, H, W); return stage 2 at S/2, H/2, W/2 and stage 3 at a quarter."""
        second = self.stage2(self.stage1(volume))
        return second, self.stage3(second)


class DecoderStage(nn.Module):
    """Upsample by 2, a 2 x 2 convolution, concatenate the skip, two convolutions."""

    def __init__(self, below: int, channels: int) -> None:
        """Take the channels of the stage below and of this one."""
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), same_conv(below, channels, 2), nn.ReLU(inplace=True)
        )
        self.convs = double_conv(2 * channels, channels)

    def forward(self, plane: Tensor, skip: Tensor) -> Tensor:
        """Recover (B, C, 2H, 2W) from the stage below (B, C_below, H, W) and the skip."""
        recovered: Tensor = self.convs(torch.cat([skip, self.up(plane)], dim=1))
        return recovered


class DUNet(nn.Module):
    """D-UNet: S neighbouring slices in, the lesion of slice S // 2 out, as logits (B, 1, H, W).

    The slices are the channels of the 2D branch and the depth of the 3D branch.

    Example:
        >>> network = DUNet(widths=(4, 8, 8, 8, 16)).eval()
        >>> tuple(network(torch.zeros(1, 4, 32, 32)).shape)
        (1, 1, 32, 32)
    """

    def __init__(
        self,
        in_slices: int = 4,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float = 0.3,
    ) -> None:
        """Build the network with Kaiming-initialised convolutions.

        Args:
            in_slices: S, a multiple of 4, since the 3D branch halves it twice.
            widths: channels of the five stages of the 2D branch; the 3D branch has the first three.
            dropout: probability after stages 4 and 5.

        Raises:
            ValueError: `in_slices` is not a multiple of 4.
        """
        super().__init__()
        if in_slices < 4 or in_slices % 4:
            raise ValueError(f"DUNet: in_slices must be a multiple of 4, got {in_slices}")
        self.in_slices = in_slices
        w1, w2, w3, w4, w5 = widths
        self.volume_encoder = VolumeEncoder((w1, w2, w3))
        self.pool = nn.MaxPool2d(2)
        self.stage1 = double_conv(in_slices, w1)
        self.stage2 = double_conv(w1, w2)
        self.fusion2 = DimensionFusion(w2, in_slices // 2)
        self.stage3 = double_conv(w2, w3)
        self.fusion3 = DimensionFusion(w3, in_slices // 4)
        self.stage4 = nn.Sequential(double_conv(w3, w4), nn.Dropout(dropout))
        self.stage5 = nn.Sequential(double_conv(w4, w5), nn.Dropout(dropout))
        self.decoder4, self.decoder3, self.decoder2, self.decoder1 = (
            DecoderStage(below, channels) for below, channels in pairwise((w5, w4, w3, w2, w1))
        )
        self.head = nn.Conv2d(w1, 1, kernel_size=1)
        self.apply(kaiming_init)

    def forward(self, slices: Tensor) -> Tensor:
        """Segment (B, S, H, W), H and W multiples of 16, into logits (B, 1, H, W)."""
        check_slices("DUNet", slices, self.in_slices)
        volume2, volume3 = self.volume_encoder(slices[:, None])
        skip1 = self.stage1(slices)
        skip2 = self.fusion2(volume2, self.stage2(self.pool(skip1)))
        skip3 = self.fusion3(volume3, self.stage3(self.pool(skip2)))
        skip4 = self.stage4(self.pool(skip3))
        plane = self.stage5(self.pool(skip4))
        plane = self.decoder4(plane, skip4)
        plane = self.decoder3(plane, skip3)
        plane = self.decoder2(plane, skip2)
        logits: Tensor = self.head(self.decoder1(plane, skip1))
        return logits
