"""What the papers' settings cost: floating-point operations, and hours on the device at hand.

A training step is counted as three times its forward pass (backward costs about twice as much).
Predicting and evaluating come on top and are not counted. An epoch of slices (``training_slices``
in ``settings.json``) is taken as 183 scans of ATLAS R1.2 by 189 slices, and as 22 of ISLES 2015 by
154, four fifths of each.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.papers.grid import Job, dataset_of
from stroke_nets.papers.run_method import overlays_of
from stroke_nets.papers.settings import scale
from stroke_nets.runs.bundle_run import config_files
from stroke_nets.text_table import text_table

SECONDS = 30.0  # of measuring for each of the two protocols
STEP = 3  # forward and backward, in forward passes


@dataclass(frozen=True)
class Training:
    """What one training does.

    Attributes:
        job: it belongs to.
        config: of its bundle.
        batch: shape of a batch.
        iterations: steps in all.
    """

    job: Job
    config: ConfigParser
    batch: tuple[int, ...]
    iterations: int

    @property
    def protocol(self) -> str:
        """Its shape's kind."""
        return "patches" if len(self.batch) == 5 else "slices"


def trainings(jobs: Sequence[Job], scale_name: str) -> list[Training]:
    """The trainings among jobs, each bundle and overlay with its configuration."""
    found = []
    configs: dict[str, ConfigParser] = {}
    for job in jobs:
        if job.bundle is None or not (job.bundle / "configs" / "train.yaml").is_file():
            continue
        if job.run not in configs:
            over = overlays_of(job.bundle, job.run.split("/")[1], scale_name)
            configs[job.run] = ConfigParser()
            configs[job.run].read_config(config_files(job.bundle, "train", over))
        found.append(_training(job, configs[job.run], scale_name))
    return found


def _training(job: Job, config: ConfigParser, scale_name: str) -> Training:
    size, epochs = config["batch_size"], config["max_epochs"]
    if "patch_size" in config:
        return Training(
            job, config, (size, 1, *config["patch_size"]), epochs * config["train_batches"]
        )
    slices = scale(scale_name)["training_slices"][dataset_of(job.run)]
    shape = (size, len(config["offsets"]), config["size"], config["size"])
    return Training(job, config, shape, epochs * math.ceil(slices / size))


def step_flops(config: ConfigParser, batch: tuple[int, ...]) -> int:
    """Floating-point operations of one training step, counted without computing anything."""
    with torch.device("meta"):
        network, images = _network(config), torch.empty(batch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return STEP * int(counter.get_total_flops())


def _network(config: ConfigParser) -> nn.Module:
    config.parse(reset=True)
    network: nn.Module = config.get_parsed_content("network_def")
    return network


def total_flops(found: Sequence[Training]) -> dict[str, float]:
    """Operations of all trainings by protocol; a network that folds share is counted once."""
    steps: dict[str, int] = {}
    totals: dict[str, float] = {}
    for training in found:
        run = training.job.run
        if run not in steps:
            steps[run] = step_flops(training.config, training.batch)
        before = totals.get(training.protocol, 0.0)
        totals[training.protocol] = before + steps[run] * float(training.iterations)
    return totals


def measured_rate(training: Training, seconds: float = SECONDS) -> float:
    """Operations per second of a network's training steps on the device here, batch 1 or 2.

    Args:
        training: whose network and patch or slice size are taken.
        seconds: to measure; at least one step is made, after one to warm up on a GPU.
    """
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch = (1 if training.protocol == "patches" else 2, *training.batch[1:])
    network, images = _network(training.config).to(device), torch.randn(batch, device=device)
    amp = gpu and training.protocol == "patches"
    if gpu:
        _step(network, images, amp)
    start, steps = time.monotonic(), 0
    while not steps or time.monotonic() - start < seconds:
        _step(network, images, amp)
        steps += 1
    return steps * step_flops(training.config, batch) / (time.monotonic() - start)


def _step(network: nn.Module, images: Tensor, amp: bool) -> None:
    with torch.autocast("cuda", enabled=amp):
        output: Any = network.train()(images)
        logits = output[0] if isinstance(output, tuple) else output
        loss = logits.float().mean()
    network.zero_grad()
    loss.backward()
    if images.is_cuda:
        torch.cuda.synchronize()


def report(jobs: Sequence[Job], scale_name: str, measure: bool) -> list[str]:
    """Lines to print before a long grid.

    Args:
        jobs: those not done yet.
        scale_name: whose settings hold.
        measure: also measure the device, for a minute, and give hours.
    """
    found = trainings(jobs, scale_name)
    totals = total_flops(found)
    rows = {
        protocol: [protocol, str(sum(t.protocol == protocol for t in found)), f"{flops:.3g}", "-"]
        for protocol, flops in totals.items()
    }
    if not measure:
        return [_table(rows), "hours: not measured in a dry run"]
    gpu = torch.cuda.is_available()
    kind, device = ("GPU", torch.cuda.get_device_name()) if gpu else ("CPU", "this CPU")
    hours = 0.0
    for protocol, flops in totals.items():
        rate = measured_rate(next(t for t in found if t.protocol == protocol))
        hours += flops / rate / 3600
        rows[protocol][3] = f"{rate / 1e12:.3g} TFLOP/s on {device}"
    return [_table(rows), f"expected: {hours:,.0f} {kind}-hours of training, one run at a time"]


def _table(rows: Mapping[str, Sequence[str]]) -> str:
    return text_table(("protocol", "trainings", "FLOP in all", "measured here"), rows.values())
