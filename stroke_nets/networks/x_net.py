"""X-Net, a U-Net of depthwise separable convolutions with a non-local block at its bottom.

Qi, Yang, Xiao, Zeng, Wang, Zhao et al.: "X-Net: Brain Stroke Lesion Segmentation Based on
Depthwise Separable Convolution and Long-range Dependencies" (2019). With 4 input channels
15,072,749 parameters; 15,072,332 with 1.

Shape letters: B batch, C channels, H and W rows and columns of the current stage, N = H * W.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stroke_nets.networks.blocks.kaiming import kaiming_init
from stroke_nets.networks.blocks.keras_layers import batch_norm, check_slices, conv_bn_relu


def separable_unit(in_channels: int, out_channels: int) -> nn.Sequential:
    """Depthwise 3 x 3 (no bias), then 1 x 1, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        batch_norm(in_channels),
        nn.ReLU(inplace=True),
        conv_bn_relu(in_channels, out_channels, kernel_size=1),
    )


class XBlock(nn.Module):
    """X-block: three separable units and a 1 x 1 residual path; no activation after the sum."""

    def __init__(self, in_channels: int, channels: int) -> None:
        """Take the channels before and after."""
        super().__init__()
        self.residual = conv_bn_relu(in_channels, channels, kernel_size=1)
        self.units = nn.Sequential(
            separable_unit(in_channels, channels),
            separable_unit(channels, channels),
            separable_unit(channels, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H, W)."""
        summed: Tensor = self.units(features) + self.residual(features)
        return summed


class NonLocal(nn.Module):
    """The attention within FSM: a + W(f g) with f = theta phi^T / N.

    The paper has no softmax, so the product is linear in each factor: phi^T g (C' x C') comes
    first, and the N x N matrix f is never built.
    """

    def __init__(self, channels: int) -> None:
        """Take C; theta, phi and g have C' = C / 2 channels."""
        super().__init__()
        half = channels // 2
        self.theta = nn.Conv2d(channels, half, kernel_size=1, bias=False)
        self.phi = nn.Conv2d(channels, half, kernel_size=1, bias=False)
        self.g = nn.Conv2d(channels, half, kernel_size=1, bias=False)
        self.out = nn.Conv2d(half, channels, kernel_size=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Attend over all pixels of (B, C, H, W)."""
        theta = self.theta(features)
        phi, g = self.phi(features).flatten(2), self.g(features).flatten(2)
        mixed = g @ phi.transpose(1, 2) / g.shape[2]  # (B, C', C')
        attended: Tensor = features + self.out((mixed @ theta.flatten(2)).view_as(theta))
        return attended


class FSM(nn.Module):
    """Feature similarity module: reduce to C / 8, attend over all pixels, expand, add the input."""

    def __init__(self, channels: int) -> None:
        """Take C."""
        super().__init__()
        narrow = max(2, channels // 8)
        self.narrow = conv_bn_relu(channels, narrow)
        self.non_local = NonLocal(narrow)
        self.widen = conv_bn_relu(narrow, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        similar: Tensor = self.widen(self.non_local(self.narrow(features))) + features
        return similar


class DecoderStage(nn.Module):
    """Upsample by 2, a 3 x 3 convolution, concatenate the skip, an X-block."""

    def __init__(self, below: int, channels: int) -> None:
        """Take the channels of the stage below and of this one."""
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), conv_bn_relu(below, channels))
        self.block = XBlock(2 * channels, channels)

    def forward(self, plane: Tensor, skip: Tensor) -> Tensor:
        """Recover (B, C, 2H, 2W) from the stage below (B, C_below, H, W) and the skip."""
        recovered: Tensor = self.block(torch.cat([skip, self.up(plane)], dim=1))
        return recovered


class XNet(nn.Module):
    """X-Net: slices in, the lesion of one slice out, as logits (B, 1, H, W).

    Example:
        >>> network = XNet(widths=(4, 8, 8, 16, 32)).eval()
        >>> tuple(network(torch.zeros(1, 4, 32, 32)).shape)
        (1, 1, 32, 32)
    """

    def __init__(
        self, in_channels: int = 4, widths: Sequence[int] = (64, 128, 256, 512, 1024)
    ) -> None:
        """Build the network with Kaiming-initialised convolutions.

        Args:
            in_channels: input slices; X-Net's paper has one, AGMR-Net's protocol four.
            widths: channels of the five stages.
        """
        super().__init__()
        self.in_channels = in_channels
        self.pool = nn.MaxPool2d(2)
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = (
            XBlock(before, channels) for before, channels in pairwise((in_channels, *widths))
        )
        self.fsm = FSM(widths[4])
        self.decoder4, self.decoder3, self.decoder2, self.decoder1 = (
            DecoderStage(below, channels) for below, channels in pairwise(widths[::-1])
        )
        self.head = nn.Conv2d(widths[0], 1, kernel_size=1)
        self.apply(kaiming_init)

    def forward(self, slices: Tensor) -> Tensor:
        """Segment (B, C_in, H, W), H and W multiples of 16, into logits (B, 1, H, W)."""
        check_slices("XNet", slices, self.in_channels)
        skip1 = self.stage1(slices)
        skip2 = self.stage2(self.pool(skip1))
        skip3 = self.stage3(self.pool(skip2))
        skip4 = self.stage4(self.pool(skip3))
        plane = self.fsm(self.stage5(self.pool(skip4)))
        plane = self.decoder4(plane, skip4)
        plane = self.decoder3(plane, skip3)
        plane = self.decoder2(plane, skip2)
        logits: Tensor = self.head(self.decoder1(plane, skip1))
        return logits
