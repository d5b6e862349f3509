"""Deconvolutions of several kernel sizes side by side, which MDU and its cheaper forms share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class SideBySide(nn.Module):
    """Branches that each double H and W, concatenated; then norm, ReLU and dropout.

    Norm, ReLU and dropout act on each channel alone: once over all is as once per branch.
    """

    def __init__(
        self,
        channels: int,
        kernel_sizes: Sequence[int],
        dropout: float,
        branch: Callable[[int, int, int], nn.Module],
    ) -> None:
        """Build the branches.

        Args:
            channels: C, in and out; every branch makes an equal share.
            kernel_sizes: one odd size for each branch, in the order of the channels.
            dropout: probability.
            branch: `branch(C, share, size)` doubles H and W and makes a share of the channels.

        Raises:
            ValueError: a kernel size is even, or the branches cannot share C equally.
        """
        super().__init__()
        share, rest = divmod(channels, len(kernel_sizes))
        if rest or any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(
                f"{type(self).__name__}: {channels} channels over kernel sizes "
                f"{tuple(kernel_sizes)}: sizes must be odd and their number must divide the "
                "channels"
            )
        self.branches = nn.ModuleList(branch(channels, share, size) for size in kernel_sizes)
        self.activate = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Double (B, C, H, W) to (B, C, 2H, 2W)."""
        doubled: Tensor = self.activate(
            torch.cat([branch(features) for branch in self.branches], dim=1)
        )
        return doubled
