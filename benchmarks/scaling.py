"""Scaling of time and memory with slices, voxels, batch size, workers and processes.

    python benchmarks/scaling.py

Every point runs in a separate process and records wall-clock and processor seconds and the memory
allocated on top of what was used before; for workers and processes, the whole memory of the largest
process, as each loads PyTorch. Networks are narrow, as only the scaling matters: AGMR-Net at a
quarter of its widths (`bundles/agmr_net`'s demo), a U-Net of four stages on 64^3 tiles. Writes
results/scaling.json; `report.py` draws it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from record import peak_mib, timed, write

POINTS = {
    "slices": [24, 48, 96, 189],
    "voxels": [64, 96, 128, 160],  # side of the volume
    "batch": [1, 2, 4, 8, 16],
    "workers": [0, 1, 2],
    "processes": [1, 2],
}
PATCHES, STEPS, SLICES = 24, 24, 48


def slices(count: int, batch: int = 8) -> Callable[[], object]:
    """Predict ``count`` slices of 192 x 192."""
    from stroke_nets.inference.backend import compiled
    from stroke_nets.inference.slice_stack import SliceStackInferer
    from stroke_nets.networks.agmr_net import AGMRNet

    shape = (batch, 4, 192, 192)
    run = compiled(AGMRNet(widths=(8, 16, 32, 64, 128)), shape, "torch", precision="float32")
    return partial(SliceStackInferer(batch), torch.rand(1, 1, 192, 192, count), run)


def voxels(side: int) -> Callable[[], object]:
    """Predict a cube in 64^3 tiles."""
    from stroke_nets.inference.backend import compiled
    from stroke_nets.inference.sliding_patch import PatchInferer
    from stroke_nets.networks.nnunet import PlainUNet

    network = PlainUNet(widths=(8, 16, 32, 32))
    run = compiled(network, (1, 1, 64, 64, 64), "torch", precision="float32")
    return partial(PatchInferer((64, 64, 64), flips=False), torch.rand(1, 1, *[side] * 3), run)


class Patches(torch.utils.data.Dataset):
    """Augmented 64^3 patches of one volume in memory."""

    def __init__(self) -> None:
        """Make the volume."""
        from data_path import ours

        rng = np.random.default_rng(0)
        image = rng.standard_normal((1, 104, 104, 104)).astype(np.float32)
        self.window = {"image": image, "label": (image > 2).astype(np.float32)}
        self.augment = ours([64] * 3)

    def __len__(self) -> int:
        """Number of patches per epoch."""
        return PATCHES

    def __getitem__(self, index: int) -> torch.Tensor:
        """Patch number ``index``."""
        return torch.as_tensor(self.augment(index, self.window)["image"]).clone()


def workers(count: int) -> Callable[[], object]:
    """Load an epoch with ``count`` worker processes."""
    dataset = Patches()
    loader = torch.utils.data.DataLoader(dataset, 2, num_workers=count)
    return lambda: sum(len(batch) for batch in loader)


def processes(count: int) -> Callable[[], object]:
    """Train with ``count`` synchronised processes, STEPS batches in all, gradients via gloo."""
    return partial(torch.multiprocessing.spawn, training, (count, tempfile.mkdtemp()), nprocs=count)


def training(rank: int, count: int, folder: str) -> None:
    """Train on one process's share of the batches."""
    from stroke_nets.networks.nnunet import PlainUNet

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count
    )
    network = torch.nn.parallel.DistributedDataParallel(PlainUNet(widths=(8, 16, 32)))
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    for _ in range(STEPS // count):
        logits, lower = network(torch.rand(1, 1, 64, 64, 64))
        (logits.mean() + sum(level.mean() for level in lower)).backward()
        optimizer.step()
    torch.distributed.destroy_process_group()


def point(kind: str, value: int) -> dict[str, float]:
    """Measure one point in this process."""
    kinds: dict[str, Callable[[int], Callable[[], object]]] = {
        "slices": slices,
        "voxels": voxels,
        "batch": partial(slices, SLICES),
        "workers": workers,
        "processes": processes,
    }
    call = kinds[kind](value)
    before = peak_mib()
    with torch.no_grad():
        clock, work = timed(call)
    mib = peak_mib() - before
    if kind in ("workers", "processes"):  # include the finished child processes
        times = os.times()
        work += times.children_user + times.children_system
        mib = max(peak_mib(), peak_mib(resource.RUSAGE_CHILDREN))
    return {"clock_s": round(clock, 3), "cpu_s": round(work, 3), "mib": round(mib)}


def main() -> None:
    """Run every point in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(POINTS))
    parser.add_argument("--point", nargs=2, metavar=("KIND", "VALUE"), help="what a process does")
    options = parser.parse_args()
    if options.point:
        print(json.dumps(point(options.point[0], int(options.point[1]))))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in options.only:
        found[kind] = []
        for value in POINTS[kind]:
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, "--point", kind, str(value)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[kind].append({"at": value} | json.loads(done.stdout.splitlines()[-1]))
            print(kind, found[kind][-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    write("scaling", {}, points=found)


if __name__ == "__main__":
    main()
