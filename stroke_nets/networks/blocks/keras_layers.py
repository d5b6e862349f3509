"""Layers that behave as in Keras, in which D-UNet, X-Net and CLCI-Net were published.

Batch norm has epsilon 1e-3 and momentum 0.99 (in Keras's sense); "same" padding adds an odd row or
column at the bottom and right.
"""

from torch import Tensor, nn


def batch_norm(channels: int, dims: int = 2) -> nn.Module:
    """Batch norm in 2 or 3 dimensions; PyTorch's momentum is one minus Keras's."""
    norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
    return norm(channels, eps=1e-3, momentum=0.01)


def same_conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """Convolution (with bias) that divides H and W by the stride, which must divide them."""
    padding = max(dilation * (kernel_size - 1) + 1 - stride, 0)
    before, odd = divmod(padding, 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, 0 if odd else before, dilation)
    margins = (before, before + 1, before, before + 1)
    return nn.Sequential(nn.ZeroPad2d(margins), conv) if odd else conv


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """`same_conv`, batch norm and ReLU."""
    return nn.Sequential(
        same_conv(in_channels, out_channels, kernel_size, stride, dilation),
        batch_norm(out_channels),
        nn.ReLU(inplace=True),
    )


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two `conv_bn_relu` of 3 x 3."""
    return nn.Sequential(
        conv_bn_relu(in_channels, out_channels), conv_bn_relu(out_channels, out_channels)
    )


def check_slices(network: str, slices: Tensor, channels: int) -> None:
    """Raise ValueError unless `slices` is (B, `channels`, H, W) with H and W multiples of 16."""
    shape = slices.shape
    if len(shape) != 4 or shape[1] != channels or shape[2] % 16 or shape[3] % 16:
        raise ValueError(
            f"{network} takes (batch, {channels}, height, width), both multiples of 16; "
            f"got {list(shape)}"
        )
