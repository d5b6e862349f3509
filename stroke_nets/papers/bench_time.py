"""How long the benchmark's runs take, from measured seconds of a training step of each network.

``bench_seconds.json`` is what ``benchmarks/bench_steps.py`` measured on one machine. Another one's
speed is told from the step of one network there.
"""

import functools
import json
import math
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from stroke_nets.papers.grid import Job
from stroke_nets.papers.run_method import overlays_of, overrides
from stroke_nets.papers.settings import scale
from stroke_nets.runs.bundle_run import FILES, config_files
from stroke_nets.runs.options import read_options

YARDSTICK = "unet/default"  # whose step is measured on a new machine
STEPS = 3  # whose least is taken, after one to warm up
FORWARD = 1 / 3  # of a step
BRAIN_SLICES = 70  # of the 80 of a patient, without those that are empty
SECONDS = {"data": 180.0, "label": 240.0, "ensemble": 240.0}  # of a job without a training
START = 30.0  # seconds of a run before its first step and for its evaluation


@functools.cache
def measured() -> dict[str, Any]:
    """What was measured: ``machine`` and ``seconds`` of a step by run."""
    path = resources.files("stroke_nets.papers") / "bench_seconds.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def bench_config(bundle: Path, overlay: str, scale_name: str = "bench") -> ConfigParser:
    """The configuration of a run's training at a scale, on the CPU."""
    files = config_files(bundle, "train", overlays_of(bundle, overlay, scale_name))
    text = (bundle / "configs" / FILES["train"]).read_text()
    config = ConfigParser(ConfigParser.load_config_files(files))
    for key, value in read_options(files, overrides(text, scale_name)).items():
        config[key] = value
    config["device"] = "cpu"
    return config


def batch_shape(config: ConfigParser) -> tuple[int, ...]:
    """The shape of a training batch."""
    if "patch_size" in config:
        return (config["batch_size"], 1, *config["patch_size"])
    return (config["batch_size"], len(config["offsets"]), config["size"], config["size"])


def step_seconds(config: ConfigParser) -> float:
    """Processor seconds of a training step on noise: forward, loss, backward, optimiser.

    With one thread, processor time is what an idle core takes, however busy the machine.
    """
    shape = batch_shape(config)
    torch.manual_seed(0)
    images = torch.randn(shape)
    labels = (torch.rand(shape[0], 1, *shape[2:]) > 0.95).float()
    parts = ("network", "inferer", "loss", "optimizer")
    names = [f"train::{part}" if part == "inferer" else part for part in parts]
    network, inferer, loss, optimizer = (config.get_parsed_content(name) for name in names)
    network.train()
    seconds = []
    for _ in range(1 + STEPS):
        start = time.process_time()
        optimizer.zero_grad()
        loss(inferer(images, network), labels).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


def speed_here(bundles: Path) -> float:
    """Seconds of this machine for one of the table's."""
    bundle, overlay = YARDSTICK.split("/")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    here = step_seconds(bench_config(bundles / bundle, overlay))
    torch.set_num_threads(threads)
    return here / float(measured()["seconds"][YARDSTICK])


def job_seconds(job: Job, scale_name: str, seconds: Mapping[str, float]) -> float:
    """Seconds of a job on one core of the table's machine, if its training does not stop early."""
    if job.bundle is None or not (job.bundle / "configs" / FILES["train"]).is_file():
        return SECONDS.get(job.step, START)
    options = overrides((job.bundle / "configs" / FILES["train"]).read_text(), scale_name)
    parts = next(iter(scale(scale_name)["parts"].values()))
    same_network = f"{job.bundle.name}/default"  # of another data set
    step, epochs = seconds.get(job.run, seconds[same_network]), options["max_epochs"]
    validations = epochs // options["val_interval"]
    if "patch_size" in options:
        steps, validating = options["train_batches"], options["val_batches"]
        predicting = parts["test"]
    else:
        steps = options["sampler#num_samples"] // options["batch_size"]
        batches = math.ceil(BRAIN_SLICES / options["batch_size"])
        validating, predicting = parts["validation"] * batches, parts["test"] * batches
    forward = FORWARD * step * (validations * validating + predicting)
    return START + epochs * steps * step + forward


def expected(jobs: Sequence[Job], scale_name: str, bundles: Path, parallel: int) -> list[str]:
    """Lines to print before the benchmark starts.

    Args:
        jobs: those not done yet.
        scale_name: whose settings hold.
        bundles: the folder of all bundles.
        parallel: jobs at once, each on a core.
    """
    table = measured()
    factor = speed_here(bundles)
    total = factor * sum(job_seconds(job, scale_name, table["seconds"]) for job in jobs)
    hours = total / 3600
    return [
        f"seconds of a step: {table['machine']}; this machine takes {factor:.2f} times as long",
        f"expected: at most {hours:.1f} hours of one core, {hours / parallel:.1f} hours with "
        f"{parallel} jobs at once; less where validation stops a training early",
    ]
