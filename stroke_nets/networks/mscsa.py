"""MSCSA: attention over all stages of a U-Net at once, at three scales.

"Stroke Lesion Segmentation using Multi-Stage Cross-Scale Attention" (Shang et al., ISBI 2025,
arXiv:2501.15423); details missing from the paper follow the authors' public code
(https://github.com/nadluru/StrokeLesSeg). It maps any encoder's stage maps to fused stage maps.

Shape letters: B batch, C channels (of one or all stages), D, H, W the size of the current map,
h heads, N queries and M keys (N = DHW; M = N + those of the two coarser scales).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Role = Callable[..., nn.Module]  # a class, or a functools.partial of one


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, padded by half its kernel, and batch norm."""
    return nn.Sequential(
        nn.Conv3d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm3d(out_channels),
    )


def resize(features: Tensor, like: Tensor) -> Tensor:
    """Resize (B, C, D, H, W) to another map's size, trilinear without antialiasing."""
    return F.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)


class CSA(nn.Module):
    """Cross-scale attention (eq. 1-3): queries at full size, keys and values at three scales.

    The scales are the map itself, a half and a third of it. The caller adds the residual.
    """

    def __init__(self, channels: int, heads: int, key_dim: int = 40, value_dim: int = 80) -> None:
        """Take C, h, and the dimensions of one head's keys and values."""
        super().__init__()
        self.heads = heads
        keys, values = heads * key_dim, heads * value_dim
        self.norm = nn.BatchNorm3d(channels)
        self.down2 = conv_bn(channels, channels, kernel_size=3, stride=2, groups=channels)
        self.down3 = conv_bn(channels, channels, kernel_size=5, stride=3, groups=channels)
        self.query = conv_bn(channels, keys)
        self.keys = nn.ModuleList(conv_bn(channels, keys) for _ in range(3))
        self.values = nn.ModuleList(conv_bn(channels, values) for _ in range(3))
        self.position = nn.Sequential(
            nn.Hardswish(), nn.Conv3d(values, values, 3, padding=1, groups=values)
        )
        self.project = nn.Sequential(
            nn.BatchNorm3d(values), nn.Hardswish(), nn.Conv3d(values, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Attend within (B, C, D, H, W) of at least one voxel; the shape is kept."""
        full = self.norm(features)
        half, third = self.down2(full), self.down3(full)
        keys = [self.keys[0](full), self.keys[1](half), self.keys[2](third)]
        values = [self.values[0](full), self.values[1](half), self.values[2](third)]
        # Scales before multiplying, and stores no N x M matrix if there is a fused kernel.
        attended = F.scaled_dot_product_attention(
            self.tokens([self.query(full)]), self.tokens(keys), self.tokens(values)
        )
        position = self.position(values[0])
        mixed: Tensor = self.project(attended.transpose(2, 3).reshape(position.shape) + position)
        return mixed

    def tokens(self, maps: list[Tensor]) -> Tensor:
        """Flatten maps (B, h * dim, D, H, W) to (B, h, tokens, dim), one scale after another."""
        flat = [m.flatten(2).unflatten(1, (self.heads, -1)) for m in maps]
        return torch.cat(flat, dim=3).transpose(2, 3)


class SharedCSA(CSA):
    """CSA whose three scales share one projection to keys and one to values (the authors' code)."""

    def __init__(self, channels: int, heads: int, key_dim: int = 35, value_dim: int = 70) -> None:
        """Take C, h, and the dimensions of one head's keys and values."""
        super().__init__(channels, heads, key_dim, value_dim)
        self.keys = nn.ModuleList([self.keys[0]] * 3)
        self.values = nn.ModuleList([self.values[0]] * 3)


class FFN(nn.Sequential):
    """Feed-forward sub-layer on C channels with a hidden layer three times as wide."""

    def __init__(self, channels: int, expansion: int = 3) -> None:
        """Take C and how many times wider the hidden layer is."""
        hidden = expansion * channels
        super().__init__(
            nn.BatchNorm3d(channels),
            nn.Conv3d(channels, hidden, 1),
            nn.BatchNorm3d(hidden),
            nn.Conv3d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.ReLU6(inplace=True),
            nn.Conv3d(hidden, channels, 1),
        )


class IntraFFN(nn.Module):
    """One FFN for the channels of each stage, so that stages do not mix."""

    def __init__(self, channels: Sequence[int], expansion: int = 3) -> None:
        """Take the channels of every stage, and how many times wider the hidden layers are."""
        super().__init__()
        self.channels = list(channels)
        self.stages = nn.ModuleList(FFN(width, expansion) for width in channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, D, H, W), C of all stages together, to the same shape."""
        parts = list(features.split(self.channels, dim=1))
        for i, ffn in enumerate(self.stages):
            parts[i] = ffn(parts[i])
        return torch.cat(parts, dim=1)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): a sub-layer's output is dropped for whole samples."""

    def __init__(self, probability: float) -> None:
        """Take the probability that a sample is dropped in training."""
        super().__init__()
        self.keep = 1 - probability

    def forward(self, features: Tensor) -> Tensor:
        """In training, zero some samples of (B, C, D, H, W) and scale the others by 1 / keep."""
        if not self.training or self.keep == 1:
            return features
        kept = torch.empty_like(features[:, :1, :1, :1, :1]).bernoulli_(self.keep)
        return features * kept / self.keep


class MSCSABlock(nn.Module):
    """Four sub-layers with residuals: CSA, IntraFFN, CSA, FFN; drop-path on each pair."""

    def __init__(
        self,
        channels: Sequence[int],
        heads: int,
        key_dim: int,
        value_dim: int,
        drop_paths: tuple[float, float],
        expansion: int = 3,
        attention: Role = CSA,
    ) -> None:
        """Take the channels of every stage and two drop-paths; other arguments as in `MSCSA`."""
        super().__init__()
        total = sum(channels)
        self.attention1 = attention(total, heads, key_dim, value_dim)
        self.intra_ffn = IntraFFN(channels, expansion)
        self.attention2 = attention(total, heads, key_dim, value_dim)
        self.ffn = FFN(total, expansion)
        self.drop_path1, self.drop_path = (DropPath(p) for p in drop_paths)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, D, H, W), C of all stages together, to the same shape."""
        features = features + self.drop_path1(self.attention1(features))
        features = features + self.drop_path1(self.intra_ffn(features))
        features = features + self.drop_path(self.attention2(features))
        return features + self.drop_path(self.ffn(features))


class Injection(nn.Module):
    """Inject the attention's output into a stage: local * gate + bias, both from the global map."""

    def __init__(self, channels: int) -> None:
        """Take C of the stage."""
        super().__init__()
        self.gate = nn.Sequential(*conv_bn(channels, channels), nn.Hardsigmoid())
        self.bias = conv_bn(channels, channels)

    def forward(self, stage: Tensor, context: Tensor) -> Tensor:
        """Fuse a stage (B, C, D, H, W) with its context (B, C, D', H', W'), keeping its shape."""
        return stage * resize(self.gate(context), stage) + resize(self.bias(context), stage)


class MSCSA(nn.Module):
    """Multi-Stage Cross-Scale Attention over the maps of an encoder, shallow to deep.

    All maps are resized to the second-deepest one's size, attended to jointly, and injected back
    into their stages. Norms are batch norms, whatever the backbone's: in evaluation they use
    running statistics, so a network with MSCSA must be trained (or loaded) before use.

    Example:
        >>> attention = MSCSA(channels=(4, 6, 8), heads=2, key_dim=3, value_dim=6).eval()
        >>> sizes = {4: 16, 6: 8, 8: 4}
        >>> stages = [torch.zeros(1, c, size, size, size) for c, size in sizes.items()]
        >>> [tuple(fused.shape) for fused in attention(stages)]
        [(1, 4, 16, 16, 16), (1, 6, 8, 8, 8), (1, 8, 4, 4, 4)]
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256, 320, 320),
        heads: int = 16,
        key_dim: int = 40,
        value_dim: int = 80,
        drop_path: float = 0.1,
        depth: int = 1,
        target: int = -2,
        expansion: int = 3,
        attention: Role = CSA,
    ) -> None:
        """Build the module with the authors' initialisation.

        The paper has one block at the second-deepest stage's size; depth, target and attention are
        variants in the authors' code, for which the paper has no results.

        Args:
            channels: those of every stage, shallow to deep, including the bottleneck.
            heads: 16 in the U-Net, 28 in the Res U-Net.
            key_dim: channels of one head's queries and keys.
            value_dim: channels of one head's values.
            drop_path: probability for the last block's last two sub-layers; it increases linearly
                from 0 for the first block's first two.
            depth: number of consecutive blocks.
            target: index of the stage to whose size all maps are resized: -2 is 8^3 for a patch of
                128^3, -3 is 16^3.
            expansion: how many times wider the FFNs' hidden layers are.
            attention: `attention(C, h, key_dim, value_dim)`, `CSA` or `SharedCSA`.

        Raises:
            ValueError: there are fewer than two stages, no block, or no such stage.
        """
        super().__init__()
        self.channels = list(channels)
        if len(self.channels) < 2:
            raise ValueError(f"MSCSA: channels must name two stages or more, got {self.channels}")
        if depth < 1 or not -len(self.channels) <= target < len(self.channels):
            raise ValueError(f"MSCSA: depth {depth}, target {target}: give a block and a stage")
        self.target = target
        rates = [drop_path * i / (2 * depth - 1) for i in range(2 * depth)]
        self.block, *deeper = (
            MSCSABlock(
                self.channels, heads, key_dim, value_dim, (first, second), expansion, attention
            )
            for first, second in zip(rates[::2], rates[1::2], strict=True)
        )
        self.deeper = nn.ModuleList(deeper)
        self.norm = nn.BatchNorm3d(sum(self.channels))
        self.injections = nn.ModuleList(Injection(width) for width in self.channels)
        self.apply(fan_out_init)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Fuse stage maps (B, C, D, H, W), shallow to deep, each into its own shape."""
        contexts = self.contexts(stages)
        fused: list[Tensor] = []
        for i, injection in enumerate(self.injections):
            fused.append(injection(stages[i], contexts[i]))
        return fused

    def contexts(self, stages: list[Tensor]) -> list[Tensor]:
        """The attention's output for each stage: (B, C, D', H', W') of the target's size."""
        widths = [stage.shape[1] for stage in stages]
        if widths != self.channels:
            raise ValueError(f"MSCSA was built for channels {self.channels}, got {widths}")
        together = torch.cat([resize(stage, stages[self.target]) for stage in stages], dim=1)
        together = self.block(together)
        for block in self.deeper:
            together = block(together)
        return list(self.norm(together).split(self.channels, dim=1))


def fan_out_init(module: nn.Module) -> None:
    """Give a convolution N(0, 2 / (k^3 * out / groups)) weights and zero biases, as the authors do.

    PyTorch's `fan_out` would count a depthwise convolution's groups as outputs.
    """
    if isinstance(module, nn.Conv3d):
        fan_out = module.weight[0, 0].numel() * module.out_channels / module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
