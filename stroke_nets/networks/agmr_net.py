"""AGMR-Net, a 2D U-Net guided by a shallow 3D encoder over the same four slices.

"AGMR-Net: Attention Guided Multiscale Recovery framework for stroke segmentation" (Du, Ma, Song).
Section, table and equation numbers are that paper's. There is no public code, and the paper does
not determine the network: this is one of several layer lists (at least eleven) that meet all five
parameter totals of Table 9 (23,799,283 in full), chosen because it is the closest to the text: a
final 1 x 1 convolution, MLPs without biases, deconvolutions with biases. Another has a final 3 x 3
convolution with batch norm, MLPs with biases and deconvolutions without
(`tests/networks/test_agmr_net.py` counts it).

Shape letters: B batch, S input slices, C channels, D slices left at a stage, H and W rows and
columns of the current stage, G side of the attention grid (6).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stroke_nets.networks.blocks.kaiming import kaiming_init
from stroke_nets.networks.blocks.side_by_side import SideBySide
from stroke_nets.networks.blocks.volume_to_plane import (
    VolumeToPlane,
    channel_gate,
    conv_bn_relu,
    pooled,
)

Role = Callable[..., nn.Module]  # a class, or a functools.partial of one


class CPA(nn.Module):
    """CPA (eq. 1-4): attention with one weight for each cell of a 6 x 6 grid.

    Y = A * F + F, where A is constant within a cell. The grid's logits are also returned, for a
    separate loss (`PatchAttentionLoss`).
    """

    def __init__(self, grid: int = 6) -> None:
        """Take the grid's side G; the MLP is G^2 -> G^2 / 2 -> G^2, without biases."""
        super().__init__()
        cells = grid * grid
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.mlp = nn.Sequential(
            nn.Linear(cells, cells // 2, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(cells // 2, cells, bias=False),
        )

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Attend to (B, C, H, W); return it and a list of one logit map (B, 1, G, G)."""
        cells = self.pool(features.mean(dim=1, keepdim=True))
        logits = self.mlp(cells.flatten(1)).view(cells.shape)
        height, width = features.shape[2], features.shape[3]
        attention = F.interpolate(torch.sigmoid(logits), size=(height, width), mode="nearest")
        return features * (1 + attention), [logits]


class CFF(nn.Module):
    """CFF (Sec. 3.2, eq. 5-8): the 3D branch fused into the 2D one, channel by channel.

    `volume_gate` and `plane_gate` return the channel weights that Fig. 11 plots.
    """

    def __init__(self, channels: int, depth: int, ratio: int = 8) -> None:
        """Take C, D and the reduction R: each gate's hidden layer has C / R units."""
        super().__init__()
        hidden = max(1, channels // ratio)
        self.to_plane = VolumeToPlane(channels, depth)
        self.volume_gate = channel_gate(2 * channels, hidden, channels)
        self.plane_gate = channel_gate(2 * channels, hidden, channels)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """Fuse a volume (B, C, D, H, W) with a plane (B, C, H, W) into (B, C, H, W)."""
        flat = self.to_plane(volume)
        context = torch.cat([pooled(flat), pooled(plane)], dim=1)
        volume_weight = self.volume_gate(context)[:, :, None, None]
        plane_weight = self.plane_gate(context)[:, :, None, None]
        fused: Tensor = flat * volume_weight + plane * plane_weight
        return fused


class MDU(SideBySide):
    """MDU (Sec. 3.3): deconvolutions of several kernel sizes side by side, concatenated."""

    def __init__(
        self, channels: int, kernel_sizes: Sequence[int] = (3, 5, 7, 9), dropout: float = 0.1
    ) -> None:
        """Build the branches.

        Args:
            channels: C, in and out, divided equally among the branches.
            kernel_sizes: one odd size for each branch (Table 9), in the order of the channels.
            dropout: probability; the paper gives none.

        Raises:
            ValueError: a kernel size is even, or C is not divisible by the number of branches.
        """
        super().__init__(channels, kernel_sizes, dropout, _deconvolution)


def _deconvolution(channels: int, share: int, size: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, share, size, 2, (size - 1) // 2, output_padding=1)


class MaxDown(nn.MaxPool2d):
    """The paper's downsampling of the 2D branch: 2 x 2 max pooling for any number of channels."""

    def __init__(self, channels: int) -> None:
        """Take C like every downsampling; pooling does not use it."""
        super().__init__(2)


class VolumeEncoder(nn.Module):
    """The 3D branch (Table 2): three stages of two convolutions, 2 x 2 x 2 max pools between."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Take the channels of the three stages."""
        super().__init__()
        first, second, third = widths
        self.stage1 = nn.Sequential(
            conv_bn_relu(1, first, dims=3), conv_bn_relu(first, first, dims=3)
        )
        self.stage2 = nn.Sequential(
            nn.MaxPool3d(2),
            conv_bn_relu(first, second, dims=3),
            conv_bn_relu(second, second, dims=3),
        )
        self.stage3 = nn.Sequential(
            nn.MaxPool3d(2), conv_bn_relu(second, third, dims=3), conv_bn_relu(third, third, dims=3)
        )

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, 1, S, H, W); return stage 2 at S/2, H/2, W/2 and stage 3 at a quarter."""
        second = self.stage2(self.stage1(volume))
        return second, self.stage3(second)


class PlaneStage(nn.Module):
    """A stage of the 2D encoder: downsample, two convolutions, attention, dropout."""

    def __init__(
        self, down: nn.Module, in_channels: int, channels: int, attention: nn.Module, dropout: float
    ) -> None:
        """Take the stage's own modules and the channels before and after it."""
        super().__init__()
        self.down = down
        self.convs = nn.Sequential(
            conv_bn_relu(in_channels, channels), conv_bn_relu(channels, channels)
        )
        self.attention = attention
        self.dropout = nn.Dropout(dropout)

    def forward(self, plane: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode (B, C_in, H, W); return (B, C, H', W') and the attention's logit maps."""
        attended, maps = self.attention(self.convs(self.down(plane)))
        return self.dropout(attended), maps


class DecoderStage(nn.Module):
    """A stage of the decoder: upsample, halve the channels, join the skip, two convolutions."""

    def __init__(self, below: int, channels: int, upsample: nn.Module, skip: nn.Module) -> None:
        """Take the channels of the stage below and of this one, and the two options' modules."""
        super().__init__()
        self.up = nn.Sequential(upsample, conv_bn_relu(below, channels))
        self.skip = skip
        self.convs = nn.Sequential(
            conv_bn_relu(2 * channels, channels), conv_bn_relu(channels, channels)
        )

    def forward(self, plane: Tensor, skip: Tensor) -> Tensor:
        """Recover (B, C, 2H, 2W) from the stage below (B, C_below, H, W) and the skip."""
        joined = torch.cat([self.skip(skip), self.up(plane)], dim=1)
        recovered: Tensor = self.convs(joined)
        return recovered


class AGMRNet(nn.Module):
    """AGMR-Net (Table 2): S neighbouring slices in, the lesion of slice S // 2 out.

    The slices are the channels of the 2D branch and the depth of the 3D branch. Each option is a
    role, given as a class or a `functools.partial`; the paper's ablations are other modules in
    the same roles (`blocks/agmr_ablations.py`).

    In training, a call returns a tuple: the logits (B, 1, H, W) and the list of the five stages'
    attention logits (B, 1, G, G), empty if the attention makes none. In evaluation, and in
    TorchScript, it returns the logits alone.

    Example:
        >>> network = AGMRNet(widths=(4, 8, 8, 8, 16)).eval()
        >>> tuple(network(torch.zeros(1, 4, 96, 96)).shape)
        (1, 1, 96, 96)
    """

    def __init__(
        self,
        in_slices: int = 4,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        attention: Role = CPA,
        fusion: Role = CFF,
        upsample: Role = MDU,
        downsample: Role = MaxDown,
        skip: Role = nn.Identity,
        dropout: float = 0.3,
    ) -> None:
        """Build the network with Kaiming-initialised convolutions.

        Args:
            in_slices: S, a multiple of 4, since the 3D branch halves it twice.
            widths: channels of the five stages of the 2D branch; the 3D branch has the first three.
            attention: `attention()` maps (B, C, H, W) to the same and a list of logit maps.
            fusion: `fusion(C, D)` maps a volume and a plane to a plane, at stages 2 and 3.
            upsample: `upsample(C)` doubles H and W and keeps C.
            downsample: `downsample(C)` halves H and W of the 2D branch and keeps C.
            skip: `skip(C)` processes the encoder's maps for the decoder and keeps their shape.
            dropout: probability after encoder stages 4 and 5 (D-UNet's; the paper gives none).

        Raises:
            ValueError: `in_slices` is not a multiple of 4, or there are not five widths.
        """
        super().__init__()
        if in_slices < 4 or in_slices % 4 or len(widths) != 5:
            raise ValueError(
                f"AGMRNet: in_slices must be a multiple of 4 and widths five numbers, "
                f"got {in_slices} and {tuple(widths)}"
            )
        self.in_slices = in_slices
        self.volume_encoder = VolumeEncoder(widths[:3])
        downs = [nn.Identity(), *(downsample(width) for width in widths[:4])]
        drops = [0.0, 0.0, 0.0, dropout, dropout]
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = (
            PlaneStage(down, before, width, attention(), drop)
            for down, (before, width), drop in zip(
                downs, pairwise([in_slices, *widths]), drops, strict=True
            )
        )
        self.fusion2 = fusion(widths[1], in_slices // 2)
        self.fusion3 = fusion(widths[2], in_slices // 4)
        self.decoder1, self.decoder2, self.decoder3, self.decoder4 = (
            DecoderStage(below, width, upsample(below), skip(width))
            for width, below in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], 1, kernel_size=1)
        self.apply(kaiming_init)

    def forward(self, slices: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Segment (B, S, H, W) into logits (B, 1, H, W), and attention logits in training."""
        self.check_input(slices)
        volume2, volume3 = self.volume_encoder(slices[:, None])
        skip1, maps1 = self.stage1(slices)
        plane2, maps2 = self.stage2(skip1)
        skip2 = self.fusion2(volume2, plane2)
        plane3, maps3 = self.stage3(skip2)
        skip3 = self.fusion3(volume3, plane3)
        skip4, maps4 = self.stage4(skip3)
        plane, maps5 = self.stage5(skip4)
        plane = self.decoder4(plane, skip4)
        plane = self.decoder3(plane, skip3)
        plane = self.decoder2(plane, skip2)
        logits: Tensor = self.head(self.decoder1(plane, skip1))
        if self.training and not torch.jit.is_scripting():
            return logits, maps1 + maps2 + maps3 + maps4 + maps5
        return logits

    def check_input(self, slices: Tensor) -> None:
        """Raise ValueError unless the input is (B, S, H, W) with H and W multiples of 16."""
        shape = slices.shape
        if len(shape) != 4 or shape[1] != self.in_slices or shape[2] % 16 or shape[3] % 16:
            raise ValueError(
                f"AGMRNet takes (batch, {self.in_slices}, height, width), both multiples of 16; "
                f"got {list(shape)}"
            )
