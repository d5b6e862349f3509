"""Batches as plain tensors."""

from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines.utils import default_prepare_batch
from torch import Tensor


def plain_batch(
    batch: dict[str, Tensor], device: torch.device, non_blocking: bool = False, **options: Any
) -> tuple[Any, ...]:
    """Image and label, B x C x ..., as plain tensors, which can be compiled and gathered.

    For MONAI's ``prepare_batch``.
    """
    parts = default_prepare_batch(batch, device, non_blocking, **options)
    return tuple(p.as_tensor() if isinstance(p, MetaTensor) else p for p in parts)
