"""AGMR-Net's outlook: attention on several grids, and cheaper multi-scale deconvolutions.

The paper names "multi-granularity attention" and a cheaper MDU as future work without details; all
details are ours. Each class fills one role of `AGMRNet`. Shape letters: B batch, C channels,
G cells along a grid's side, H and W rows and columns of the current stage.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stroke_nets.networks.blocks.side_by_side import SideBySide

# ---- attention: attention()


class MultiGrid(nn.Module):
    """CPA on several grids at once: Y = F + F * (mean over the grids of A).

    Each grid has its own MLP and returns its own logits, so that `PatchAttentionLoss` supervises
    each with the prior map of its cells. With one grid this is `CPA`.
    """

    def __init__(
        self, attention: Callable[[int], nn.Module], grids: Sequence[int] = (3, 6, 12)
    ) -> None:
        """Take `CPA` and the sides G of the grids."""
        super().__init__()
        self.grids = nn.ModuleList(attention(grid) for grid in grids)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Attend to (B, C, H, W); return it and a list of one logit map (B, 1, G, G) per grid."""
        attended: list[Tensor] = []
        maps: list[Tensor] = []
        for cpa in self.grids:
            one, logits = cpa(features)
            attended.append(one)
            maps += logits
        return torch.stack(attended).mean(dim=0), maps


# ---- upsample: upsample(C)


class CheapMDU(SideBySide):
    """MDU whose large kernels work on few channels, after a 1 x 1 convolution.

    Each branch is a 1 x 1 convolution C -> C / n, then its deconvolution, which is depthwise or
    factorised into a column and a row (k x 1, then 1 x k). Norm, ReLU and dropout are MDU's.
    """

    def __init__(
        self,
        channels: int,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        factorised: bool = False,
        dropout: float = 0.1,
    ) -> None:
        """Build the branches.

        Args:
            channels: C, in and out, divided equally among the branches.
            kernel_sizes: one odd size for each branch, in the order of the channels.
            factorised: two dense one-dimensional deconvolutions instead of one depthwise.
            dropout: probability.

        Raises:
            ValueError: a kernel size is even, or C is not divisible by the number of branches.
        """
        double = _column_and_row if factorised else _depthwise
        super().__init__(
            channels,
            kernel_sizes,
            dropout,
            lambda whole, share, size: nn.Sequential(
                nn.Conv2d(whole, share, 1), *double(share, size)
            ),
        )


def _depthwise(channels: int, size: int) -> list[nn.Module]:
    """A depthwise deconvolution."""
    pad = (size - 1) // 2
    return [nn.ConvTranspose2d(channels, channels, size, 2, pad, 1, groups=channels)]


def _column_and_row(channels: int, size: int) -> list[nn.Module]:
    """A deconvolution that doubles the rows, and one that doubles the columns."""
    pad = (size - 1) // 2
    return [
        nn.ConvTranspose2d(channels, channels, (size, 1), (2, 1), (pad, 0), (1, 0)),
        nn.ConvTranspose2d(channels, channels, (1, size), (1, 2), (0, pad), (0, 1)),
    ]
