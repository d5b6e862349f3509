"""CLCI-Net, a U-Net whose stages see all earlier ones, with an ASPP and ConvLSTM skips.

Yang, Huang, Qi, Li, Liu, Wang, Zhao et al.: "CLCI-Net: Cross-Level Fusion and Context Inference
Networks for Lesion Segmentation of Chronic Stroke" (2019). With 4 input channels 36,813,889
parameters; 36,813,025 with 1.

Shape letters: B batch, C channels, H and W rows and columns of the current stage.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stroke_nets.networks.blocks.kaiming import kaiming_init
from stroke_nets.networks.blocks.keras_layers import (
    batch_norm,
    check_slices,
    conv_bn_relu,
    double_conv,
    same_conv,
)


class CLF(nn.Module):
    """Cross-level fusion: the input of stage i + 1 combines stages 0 to i.

    Each stage enters through one strided convolution, the last one through max pooling as well.
    """

    def __init__(self, widths: Sequence[int], out_channels: int) -> None:
        """Take the channels of stages 0 to i, and those handed to stage i + 1."""
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.downs = nn.ModuleList(
            conv_bn_relu(width, widths[-1], stride=2 ** (len(widths) - j))
            for j, width in enumerate(widths)
        )
        self.mix = conv_bn_relu((len(widths) + 1) * widths[-1], out_channels, kernel_size=1)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Fuse (B, C_j, H_j, W_j) of stages 0 to i into (B, C, H_i / 2, W_i / 2)."""
        fused = self.pool(stages[-1])
        for j, down in enumerate(self.downs):
            fused = torch.cat([down(stages[j]), fused], dim=1)
        mixed: Tensor = self.mix(fused)
        return mixed


class ImagePool(nn.Module):
    """The ASPP's image-pooling branch: the mean of the image, broadcast to every pixel."""

    def __init__(self, in_channels: int, channels: int) -> None:
        """Take the channels before and after."""
        super().__init__()
        self.conv = conv_bn_relu(in_channels, channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H, W)."""
        context: Tensor = self.conv(features.mean(dim=(2, 3), keepdim=True))
        return context.expand(-1, -1, features.shape[2], features.shape[3])


class CLFASPP(nn.Module):
    """CLF-ASPP: nine branches at 1/16 of the size, from all stages and with four dilations."""

    def __init__(self, widths: Sequence[int], dropout: float) -> None:
        """Take the channels of the five stages; the output has twice the last."""
        super().__init__()
        *early, last = widths
        channels = last // 2
        self.dilated = nn.ModuleList(
            [conv_bn_relu(last, channels, kernel_size=1)]
            + [conv_bn_relu(last, channels, dilation=rate) for rate in (2, 4, 6)]
        )
        self.image = ImagePool(last, channels)
        self.early = nn.ModuleList(
            conv_bn_relu(width, channels, stride=16 // 2**i) for i, width in enumerate(early)
        )
        self.mix = nn.Sequential(
            conv_bn_relu(9 * channels, 2 * last, kernel_size=1), nn.Dropout(dropout)
        )

    def forward(self, early: list[Tensor], last: Tensor) -> Tensor:
        """Map stages 1 to 4 and stage 5 (B, C, H, W) to (B, 2C, H, W)."""
        views: list[Tensor] = []
        for i, down in enumerate(self.early):
            views.append(down(early[i]))
        for conv in self.dilated:
            views.append(conv(last))
        views.append(self.image(last))
        mixed: Tensor = self.mix(torch.cat(views, dim=1))
        return mixed


def hard_sigmoid(x: Tensor) -> Tensor:
    """Keras's hard sigmoid: 0.2 x + 0.5 clipped to [0, 1] (PyTorch's has slope 1/6)."""
    return torch.clamp(0.2 * x + 0.5, 0, 1)


class ConvLSTM(nn.Module):
    """The last output of a convolutional LSTM over a sequence of two, from a zero state.

    The gates' channels are in the order input, forget, cell, output.
    """

    def __init__(self, channels: int) -> None:
        """Take C, in and out."""
        super().__init__()
        self.channels = channels
        self.input = nn.Conv2d(channels, 4 * channels, kernel_size=3, padding=1)
        self.recurrent = nn.Conv2d(channels, 4 * channels, kernel_size=3, padding=1, bias=False)

    def reset_gates(self) -> None:
        """Initialise an orthogonal recurrent kernel and a forget bias of 1, as in Keras."""
        nn.init.orthogonal_(self.recurrent.weight)
        with torch.no_grad():
            assert self.input.bias is not None
            self.input.bias[self.channels : 2 * self.channels] = 1

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Read (B, C, H, W) twice; return (B, C, H, W)."""
        hidden, cell = self.step(self.input(first), torch.zeros_like(first))
        hidden, _ = self.step(self.input(second) + self.recurrent(hidden), cell)
        return hidden

    def step(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One time step from (B, 4C, H, W) and (B, C, H, W) to the new output and cell state."""
        i, f, c, o = gates.chunk(4, dim=1)
        cell = hard_sigmoid(f) * cell + hard_sigmoid(i) * torch.tanh(c)
        return hard_sigmoid(o) * torch.tanh(cell), cell


class DecoderStage(nn.Module):
    """Context inference: the doubled plane and the skip as a sequence, then two convolutions."""

    def __init__(self, below: int, channels: int) -> None:
        """Take the channels of the stage below and of this one."""
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            same_conv(below, channels, 2),
            batch_norm(channels),
            nn.ReLU(inplace=True),
        )
        self.skip = conv_bn_relu(channels, channels, kernel_size=1)
        self.lstm = ConvLSTM(channels)
        self.convs = double_conv(channels, channels)

    def forward(self, plane: Tensor, skip: Tensor) -> Tensor:
        """Recover (B, C, 2H, 2W) from the stage below (B, C_below, H, W) and the skip."""
        recovered: Tensor = self.convs(self.lstm(self.up(plane), self.skip(skip)))
        return recovered


class CLCINet(nn.Module):
    """CLCI-Net: slices in, the lesion of one slice out, as logits (B, 1, H, W).

    Example:
        >>> network = CLCINet(widths=(4, 4, 8, 8, 16)).eval()
        >>> tuple(network(torch.zeros(1, 4, 32, 32)).shape)
        (1, 1, 32, 32)
    """

    def __init__(
        self,
        in_channels: int = 4,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float = 0.5,
    ) -> None:
        """Build the network with Kaiming-initialised convolutions.

        Args:
            in_channels: input slices; CLCI-Net's paper has one, AGMR-Net's protocol four.
            widths: channels of the five stages.
            dropout: probability after stage 5 and after the ASPP.
        """
        super().__init__()
        self.in_channels = in_channels
        w1, w2, w3, w4, w5 = widths
        self.stage1 = double_conv(in_channels, w1)
        self.fusion1 = CLF((w1,), 4 * w2)
        self.stage2 = double_conv(4 * w2, w2)
        self.fusion2 = CLF((w1, w2), 4 * w3)
        self.stage3 = double_conv(4 * w3, w3)
        self.fusion3 = CLF((w1, w2, w3), 4 * w4)
        self.stage4 = double_conv(4 * w4, w4)
        self.fusion4 = CLF((w1, w2, w3, w4), 4 * w5)
        self.stage5 = nn.Sequential(double_conv(4 * w5, w5), nn.Dropout(dropout))
        self.aspp = CLFASPP(widths, dropout)
        self.decoder4, self.decoder3, self.decoder2, self.decoder1 = (
            DecoderStage(below, channels) for below, channels in pairwise((2 * w5, w4, w3, w2, w1))
        )
        self.head = nn.Conv2d(w1, 1, kernel_size=1)
        self.apply(kaiming_init)
        for decoder in (self.decoder1, self.decoder2, self.decoder3, self.decoder4):
            decoder.lstm.reset_gates()

    def forward(self, slices: Tensor) -> Tensor:
        """Segment (B, C_in, H, W), H and W multiples of 16, into logits (B, 1, H, W)."""
        self.check_input(slices)
        skip1 = self.stage1(slices)
        skip2 = self.stage2(self.fusion1([skip1]))
        skip3 = self.stage3(self.fusion2([skip1, skip2]))
        skip4 = self.stage4(self.fusion3([skip1, skip2, skip3]))
        plane = self.stage5(self.fusion4([skip1, skip2, skip3, skip4]))
        plane = self.aspp([skip1, skip2, skip3, skip4], plane)
        plane = self.decoder4(plane, skip4)
        plane = self.decoder3(plane, skip3)
        plane = self.decoder2(plane, skip2)
        logits: Tensor = self.head(self.decoder1(plane, skip1))
        return logits

    def check_input(self, slices: Tensor) -> None:
        """Raise ValueError for a wrong shape, or a batch of one in training.

        Image pooling leaves one value per channel and sample, and batch norm needs two.
        """
        check_slices("CLCINet", slices, self.in_channels)
        if self.training and slices.shape[0] < 2:
            raise ValueError("CLCINet trains on batches of two slices or more; raise batch_size")
