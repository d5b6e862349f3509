"""nnU-Net's 3D backbones: the plain U-Net and the residual-encoder U-Net, of v1 and of v2.

"nnU-Net" (Isensee et al., Nature Methods 2021) and, for v2's residual encoder, "nnU-Net Revisited"
(MICCAI 2024). They differ in blocks per stage, residual block, and biases of convolutions.

Shape letters: B batch, C channels, K classes, S stages, D, H, W the size of the current map.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Role = Callable[..., nn.Module]  # a class, or a functools.partial of one


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, bias: bool = True
) -> nn.Sequential:
    """Convolution, padded by half its kernel, and affine instance norm."""
    return nn.Sequential(
        nn.Conv3d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias
        ),
        nn.InstanceNorm3d(out_channels, affine=True),
    )


def conv_norm_act(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 x 3 convolution with bias, instance norm and leaky ReLU (slope 0.01)."""
    return nn.Sequential(
        *conv_norm(in_channels, out_channels, stride=stride), nn.LeakyReLU(inplace=True)
    )


class ResidualBlock(nn.Module):
    """nnU-Net v1's block: two convolutions with norms, and a skip.

    If the shape changes, the skip is a strided 1 x 1 x 1 convolution and a norm.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Take C before and after the block, and the stride of its first convolution."""
        super().__init__()
        self.conv1 = conv_norm_act(in_channels, out_channels, stride)
        self.conv2 = conv_norm(out_channels, out_channels)
        self.skip = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.skip = conv_norm(in_channels, out_channels, 1, stride, bias=False)
        self.activate = nn.LeakyReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the block's channels, with the size divided by its stride."""
        added: Tensor = self.activate(self.conv2(self.conv1(features)) + self.skip(features))
        return added


class ResidualBlockD(ResidualBlock):
    """nnU-Net v2's block, after ResNet-D (He et al. 2019): average pooling strides the skip.

    A 1 x 1 x 1 convolution and a norm follow only if the channels change. The last norm's scale is
    initialised to zero, so that the block starts as its skip alone.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Take C before and after the block, and the stride of its first convolution."""
        super().__init__(in_channels, out_channels, stride)
        self.skip = nn.Sequential(nn.Identity() if stride == 1 else nn.AvgPool3d(stride))
        if in_channels != out_channels:
            self.skip.append(conv_norm(in_channels, out_channels, 1, bias=False))
        nn.init.zeros_(self.conv2.get_parameter("1.weight"))


class DecoderStage(nn.Module):
    """Upsample the map below by 2, concatenate the skip, convolve."""

    def __init__(self, below: int, channels: int, convs: int, bias: bool) -> None:
        """Take C below and here, the number of convolutions, and whether upsampling has a bias."""
        super().__init__()
        self.up = nn.ConvTranspose3d(below, channels, 2, stride=2, bias=bias)
        self.convs = nn.Sequential(
            conv_norm_act(2 * channels, channels),
            *(conv_norm_act(channels, channels) for _ in range(convs - 1)),
        )

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Map (B, C_below, D, H, W) and the skip (B, C, 2D, 2H, 2W) to the skip's shape."""
        recovered: Tensor = self.convs(torch.cat([self.up(below), skip], dim=1))
        return recovered


class KeepStages(nn.Module):
    """No skip attention: the decoder gets the encoder's maps unchanged."""

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Return the stage maps."""
        return stages


class UNet(nn.Module):
    """Base of both backbones: from encoder stages to logits, with deep supervision.

    In training, a call returns the logits (B, K, D, H, W) and the list of the S - 2 lower levels'
    logits, (B, K, D / 2, ...) first and the deepest last. In evaluation, and in TorchScript, it
    returns the logits alone, for any size: zeros pad the far ends of the image up to a multiple of
    2^(S - 1), and the logits are cropped back.
    """

    def __init__(
        self,
        stem: nn.Module,
        encoder: Sequence[nn.Module],
        widths: Sequence[int],
        out_channels: int,
        decoder_convs: int,
        bias: bool,
        skip_attention: nn.Module | None,
    ) -> None:
        """Take the encoder, shallow to deep, and build the decoder and its heads, deep to shallow.

        Raises:
            ValueError: there are fewer than two stages.
        """
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"U-Net: widths must name two stages or more, got {len(widths)}")
        self.divisor = 2 ** (len(widths) - 1)
        self.stem = stem
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(
            DecoderStage(below, width, decoder_convs, bias)
            for below, width in pairwise(reversed(widths))
        )
        self.heads = nn.ModuleList(
            nn.Conv3d(width, out_channels, 1, bias=bias) for width in reversed(widths[:-1])
        )
        self.apply(he_init)  # before adding the attention, which has its own initialisation
        self.skip_attention = KeepStages() if skip_attention is None else skip_attention

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Segment (B, C, D, H, W) into logits (B, K, D, H, W); in training the lower levels too."""
        features = self.stem(self.fit(image))
        stages: list[Tensor] = []
        for encode in self.encoder:
            features = encode(features)
            stages.append(features)
        levels = self.decode(stages)
        logits: Tensor = self.heads[-1](levels[-1])
        logits = logits[:, :, : image.shape[2], : image.shape[3], : image.shape[4]]
        if self.training and not torch.jit.is_scripting():
            return logits, [self.heads[i](levels[i]) for i in range(len(levels) - 2, -1, -1)]
        return logits

    def decode(self, stages: list[Tensor]) -> list[Tensor]:
        """From the encoder's maps, shallow to deep, to the decoder's, deep to shallow."""
        stages = self.skip_attention(stages)
        features = stages.pop()
        levels: list[Tensor] = []
        for stage in self.decoder:
            features = stage(features, stages.pop())
            levels.append(features)
        return levels

    def fit(self, image: Tensor) -> Tensor:
        """Pad (B, C, D, H, W) to a multiple of the strides; in training, refuse other sizes.

        Raises:
            ValueError: a training patch that is not divisible, or one voxel at the deepest stage,
                which has no variance to normalise by.
        """
        d, size = self.divisor, list(image.shape[2:])
        pad = [0, -size[2] % d, 0, -size[1] % d, 0, -size[0] % d]
        if self.training and sum(pad) > 0:
            raise ValueError(
                f"U-Net: a training patch must be a multiple of {d} along each axis, got {size}"
            )
        if max(size) <= d:
            raise ValueError(f"U-Net: one axis or more must be longer than {d}, got {size}")
        return F.pad(image, pad)


class PlainUNet(UNet):
    """nnU-Net's plain U-Net: strided convolutions down, transposed ones up, all 3 x 3 x 3.

    The defaults are v1's, 31,194,784 parameters; `bias=True` is v2's, 31,195,594.

    Example:
        >>> network = PlainUNet(widths=(4, 8, 8)).eval()
        >>> tuple(network(torch.zeros(1, 1, 9, 12, 10)).shape)
        (1, 2, 9, 12, 10)
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        encoder_convs: int = 2,
        decoder_convs: int = 2,
        bias: bool = False,
        skip_attention: nn.Module | None = None,
    ) -> None:
        """Build the network with He-initialised convolutions.

        Args:
            in_channels: channels of the image.
            out_channels: K, the background included.
            widths: channels of every stage; each stage after the first halves the size.
            encoder_convs: convolutions of an encoder stage.
            decoder_convs: convolutions of a decoder stage.
            bias: of transposed convolutions and heads; the others always have one.
            skip_attention: maps the list of stage maps, shallow to deep, to fused ones of the same
                shapes (`MSCSA`); None keeps them as they are.

        Raises:
            ValueError: there are fewer than two widths.
        """
        before = [in_channels, *widths]
        super().__init__(
            nn.Identity(),
            [
                nn.Sequential(
                    conv_norm_act(before[i], width, stride=1 if i == 0 else 2),
                    *(conv_norm_act(width, width) for _ in range(encoder_convs - 1)),
                )
                for i, width in enumerate(widths)
            ],
            widths,
            out_channels,
            decoder_convs,
            bias,
            skip_attention,
        )


class FuseUNet(PlainUNet):
    """The plain U-Net with MSCSA's output injected into its decoder, not its skips (the code).

    The bottleneck and each decoder stage's output are fused with the context of their stage; the
    skips are not changed. The parameters are those of `PlainUNet` with `MSCSA`.
    """

    def decode(self, stages: list[Tensor]) -> list[Tensor]:
        """From the encoder's maps, shallow to deep, to the decoder's, deep to shallow."""
        attention: Any = self.skip_attention  # MSCSA, whose own forward is not called
        *contexts, context = attention.contexts(stages)
        *injections, injection = attention.injections
        *skips, features = stages
        features = injection(features, context)
        levels: list[Tensor] = []
        parts = (reversed(part) for part in (skips, injections, contexts))
        for stage, skip, inject, found in zip(self.decoder, *parts, strict=True):
            features = inject(stage(features, skip), found)
            levels.append(features)
        return levels


class ResUNet(UNet):
    """nnU-Net's U-Net with a residual encoder: a stem, then residual blocks in each stage.

    The defaults are v1's, 72,137,888 parameters. v2's ResEnc, 102,349,770, is
    `ResUNet(blocks=(1, 3, 4, 6, 6, 6), block=ResidualBlockD, bias=True)`.

    Example:
        >>> network = ResUNet(widths=(4, 8, 8), blocks=(1, 2, 2), block=ResidualBlockD).train()
        >>> logits, lower = network(torch.zeros(1, 1, 8, 12, 8))
        >>> tuple(logits.shape), [tuple(level.shape) for level in lower]
        ((1, 2, 8, 12, 8), [(1, 2, 4, 6, 4)])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        blocks: Sequence[int] = (1, 2, 3, 4, 4, 4),
        decoder_convs: int = 1,
        block: Role = ResidualBlock,
        bias: bool = False,
        skip_attention: nn.Module | None = None,
    ) -> None:
        """Build the network with He-initialised convolutions.

        Args:
            in_channels: channels of the image.
            out_channels: K, the background included.
            widths: channels of every stage; each stage after the first halves the size.
            blocks: residual blocks of every stage.
            decoder_convs: convolutions of a decoder stage.
            block: `block(C before, C after, stride)`, v1's or v2's.
            bias: of transposed convolutions and heads; other convolutions have one, except skips.
            skip_attention: as in `PlainUNet`.

        Raises:
            ValueError: there are fewer than two widths, or not one number of blocks for each.
        """
        if len(blocks) != len(widths):
            raise ValueError(f"ResUNet: {len(widths)} widths need as many blocks, got {blocks}")
        before = [widths[0], *widths]
        super().__init__(
            conv_norm_act(in_channels, widths[0]),
            [
                nn.Sequential(
                    block(before[i], width, 1 if i == 0 else 2),
                    *(block(width, width, 1) for _ in range(blocks[i] - 1)),
                )
                for i, width in enumerate(widths)
            ],
            widths,
            out_channels,
            decoder_convs,
            bias,
            skip_attention,
        )


def he_init(module: nn.Module) -> None:
    """Give a convolution He-normal weights (slope 0.01) and zero biases, as nnU-Net does."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
