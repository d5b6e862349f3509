"""One process for each device, started by ``torchrun``."""

import os

import torch
from torch import distributed, nn


def local_device() -> torch.device:
    """This process's device: its own GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device("cpu")


def join() -> None:
    """Join the process group: NCCL between GPUs, Gloo between CPU processes."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a network so that its gradients are averaged over all processes."""
    return nn.parallel.DistributedDataParallel(
        network.to(device),
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,  # heads of weight 0 in deep supervision get no gradient
    )
