"""AGMR-Net's boundary loss: the edges of the prediction against the edges of the label."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sobel_magnitude(image: Tensor) -> Tensor:
    """Sobel gradient magnitude sqrt(gx^2 + gy^2 + 1e-6) of each channel of (B, C, H, W).

    Kernels [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] and its transpose, unnormalised; the border is
    replicated. The 1e-6 keeps the gradient of the square root finite in flat regions.
    """
    padded = F.pad(image.float(), (1, 1, 1, 1), mode="replicate")
    # A Sobel kernel is a difference along one axis times a (1, 2, 1) sum along the other. Slicing
    # avoids a convolution, which would run in half precision under autocast.
    across = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return torch.sqrt(gx**2 + gy**2 + 1e-6)


class SobelBoundaryLoss(nn.Module):
    """Mean absolute difference of Sobel magnitudes (AGMR-Net, L2 of eq. 12-15; details ours)."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compare logits (B, 1, H, W) with a 0/1 label of that shape; return a float32 scalar.

        Raises:
            ValueError: the shapes differ.
        """
        if logits.shape != label.shape:
            raise ValueError(
                f"prediction {tuple(logits.shape)} and label {tuple(label.shape)} differ in shape"
            )
        predicted = sobel_magnitude(torch.sigmoid(logits.float()))
        return (predicted - sobel_magnitude(label)).abs().mean()
