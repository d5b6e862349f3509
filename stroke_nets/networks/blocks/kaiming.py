"""Kaiming initialisation, for the networks trained by AGMR-Net's protocol."""

from torch import nn


def kaiming_init(module: nn.Module) -> None:
    """Give a convolution Kaiming-normal weights and zero biases; leave other modules alone.

    The paper says "Kaiming" only. For a stride-2 deconvolution with C / 4 outputs the fan that
    PyTorch computes, C / 4 * k^2, is the number of inputs that reach one output.
    """
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
