"""Replacements for CPA, CFF, MDU, pooling and skips in AGMR-Net's Tables 5 to 8 and 10.

Each class fills one role of `AGMRNet`'s constructor; the overlays in `bundles/` name
them. Shape letters: B batch, C channels, D slices, H and W rows and columns of the stage.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stroke_nets.networks.blocks.volume_to_plane import (
    VolumeToPlane,
    channel_gate,
    conv_bn_relu,
    pooled,
)

# ---- attention: attention()


class NoAttention(nn.Module):
    """Table 5's baseline: the unchanged stage and no logit maps."""

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (B, C, H, W) unchanged, and an empty list."""
        maps: list[Tensor] = []
        return features, maps


class SpatialAttention(nn.Module):
    """Table 6's "FA": CBAM's spatial attention (Woo et al. 2018, eq. 3), a weight per pixel."""

    def __init__(self, kernel_size: int = 7) -> None:
        """Take the odd kernel size of the convolution."""
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Weight (B, C, H, W) by pixel; the list of logit maps is empty, as there is no loss."""
        summary = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], dim=1)
        maps: list[Tensor] = []
        return features * torch.sigmoid(self.conv(summary)), maps


# ---- fusion: fusion(C, D)


class SEFusion(nn.Module):
    """Table 5's baseline: D-UNet's sum of two squeeze-and-excitations, SE(T) + SE(2D)."""

    def __init__(self, channels: int, depth: int, ratio: int = 16) -> None:
        """Take C, D and the reduction: each gate's hidden layer has C / ratio units."""
        super().__init__()
        hidden = max(1, channels // ratio)
        self.to_plane = VolumeToPlane(channels, depth)
        self.volume_gate = channel_gate(channels, hidden, channels)
        self.plane_gate = channel_gate(channels, hidden, channels)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        flat = self.to_plane(volume)
        volume_weight = self.volume_gate(pooled(flat))[:, :, None, None]
        plane_weight = self.plane_gate(pooled(plane))[:, :, None, None]
        fused: Tensor = flat * volume_weight + plane * plane_weight
        return fused


class AddFusion(nn.Module):
    """Table 7's "Add": T + 2D."""

    def __init__(self, channels: int, depth: int) -> None:
        """Take C and D."""
        super().__init__()
        self.to_plane = VolumeToPlane(channels, depth)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        fused: Tensor = self.to_plane(volume) + plane
        return fused


class ConcatFusion(nn.Module):
    """Table 7's "Concat": T and 2D concatenated, then a 1 x 1 convolution back to C."""

    def __init__(self, channels: int, depth: int) -> None:
        """Take C and D."""
        super().__init__()
        self.to_plane = VolumeToPlane(channels, depth)
        self.mix = conv_bn_relu(2 * channels, channels, kernel_size=1)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        fused: Tensor = self.mix(torch.cat([self.to_plane(volume), plane], dim=1))
        return fused


class CFFConcatFusion(nn.Module):
    """Table 7's "CFF-Concat": CFF's weights, but concatenated and mixed instead of added."""

    def __init__(self, channels: int, depth: int, ratio: int = 8) -> None:
        """Take C, D and the reduction R: each gate's hidden layer has C / R units."""
        super().__init__()
        hidden = max(1, channels // ratio)
        self.to_plane = VolumeToPlane(channels, depth)
        self.volume_gate = channel_gate(2 * channels, hidden, channels)
        self.plane_gate = channel_gate(2 * channels, hidden, channels)
        self.mix = conv_bn_relu(2 * channels, channels, kernel_size=1)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        flat = self.to_plane(volume)
        context = torch.cat([pooled(flat), pooled(plane)], dim=1)
        volume_weight = self.volume_gate(context)[:, :, None, None]
        plane_weight = self.plane_gate(context)[:, :, None, None]
        fused: Tensor = self.mix(torch.cat([flat * volume_weight, plane * plane_weight], dim=1))
        return fused


class SharedCFF(nn.Module):
    """Table 8's R = 32 according to its formula: both gates share a hidden layer of 2C / R units.

    Sec. 3.2 has two separate MLPs of C / R units (`CFF`); the formula's C^2 / 4 parameters equal
    those of the baseline's `SEFusion`.
    """

    def __init__(self, channels: int, depth: int, ratio: int = 32) -> None:
        """Take C, D and the reduction R."""
        super().__init__()
        self.to_plane = VolumeToPlane(channels, depth)
        self.gate = channel_gate(2 * channels, max(1, 2 * channels // ratio), 2 * channels)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        flat = self.to_plane(volume)
        context = torch.cat([pooled(flat), pooled(plane)], dim=1)
        volume_weight, plane_weight = self.gate(context)[:, :, None, None].chunk(2, dim=1)
        fused: Tensor = flat * volume_weight + plane * plane_weight
        return fused


# ---- upsample: upsample(C)


class BilinearUp(nn.Upsample):
    """Table 5's baseline: bilinear doubling of H and W for any number of channels."""

    def __init__(self, channels: int) -> None:
        """Take C like every upsampling; interpolation does not use it."""
        super().__init__(scale_factor=2, mode="bilinear", align_corners=False)


# ---- downsample and skip: downsample(C), skip(C)


class MultiScaleConv(nn.Module):
    """Table 10: MDU's kernels as plain convolutions that halve the size (stride 2) or keep it."""

    def __init__(
        self,
        channels: int,
        stride: int,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        dropout: float = 0.1,
    ) -> None:
        """Build the branches.

        Args:
            channels: C, in and out, divided equally among the branches.
            stride: 2 to replace pooling, 1 on a skip connection.
            kernel_sizes: one odd size for each branch, in the order of the channels.
            dropout: probability; the paper gives none.

        Raises:
            ValueError: a kernel size is even, or C is not divisible by the number of branches.
        """
        super().__init__()
        share, rest = divmod(channels, len(kernel_sizes))
        if rest or any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(
                f"MultiScaleConv: {channels} channels over kernel sizes {tuple(kernel_sizes)}: "
                "sizes must be odd and their number must divide the channels"
            )
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, share, size, stride, padding=size // 2) for size in kernel_sizes
        )
        self.activate = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / stride, W / stride)."""
        scales: Tensor = self.activate(
            torch.cat([branch(features) for branch in self.branches], dim=1)
        )
        return scales
