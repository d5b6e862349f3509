"""One process for each device, started by ``torchrun``."""

import os

import torch
from torch import distributed, nn

from stroke_nets.errors import UsageError


def local_device() -> torch.device:
    """This process's device: its own GPU, or the CPU if there is none.

    Raises:
        UsageError: there are more processes than GPUs.
    """
    if torch.cuda.is_available():
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise UsageError(f"torchrun --nproc_per_node: one process for each GPU; {there} here")
        return torch.device("cuda", number)
    return torch.device("cpu")


def join() -> None:
    """Join the process group: NCCL between GPUs, Gloo between CPU processes.

    Raises:
        UsageError: not started by ``torchrun``, or there are more processes than GPUs.
    """
    if "RANK" not in os.environ:
        raise UsageError(
            "multi_gpu_train.yaml: trains in processes that torchrun starts; the file's first "
            "lines hold the command"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a network so that its gradients are averaged over all processes.

    On GPUs, batch norm is synchronised over all processes, which PyTorch does not support on CPUs.
    """
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return nn.parallel.DistributedDataParallel(
        network.to(device),
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,  # heads of weight 0 in deep supervision get no gradient
    )
