"""What each method costs: parameters, operations and seconds, measured in one run on one device.

AGMR-Net's protocol is counted for a slice, MSCSA's for a patch of 128 x 128 x 128 (a volume of
197 x 233 x 189 takes 18 patches, eight times with flips).
"""

import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.files import write_whole
from stroke_nets.runs.bundle_run import config_files
from stroke_nets.text_table import markdown_table

REPEATS = 3  # whose median is taken, after one to warm up
NAME = "method_costs"


def write_costs(out: Path) -> list[Path]:
    """Write ``method_costs.md`` and ``method_costs.csv``: one line for each bundle that trains.

    Returns:
        Both files.
    """
    table = pd.DataFrame(_rows())
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{NAME}.md", out / f"{NAME}.csv"]
    heading = (
        f"# What the methods cost\n\nForward pass of one sample, float32, {device_name()}.\n\n"
    )
    write_whole(files[0], heading + _markdown(table))
    write_whole(files[1], table.to_csv(index=False))
    return files


def device_name() -> str:
    """The GPU, or the processor and the number of its threads that are used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor()
    return f"{name}, {torch.get_num_threads()} thread(s)"


def _rows() -> Iterator[dict[str, Any]]:
    for bundle in bundle_names():
        folder = find_bundle(bundle)
        if not (folder / "configs" / "train.yaml").is_file():
            continue  # an ensemble costs what its members cost
        config = ConfigParser()
        config.read_config(config_files(folder, "train"))
        yield {"Method": bundle, **cost_of(config)}


def cost_of(config: ConfigParser) -> dict[str, Any]:
    """Parameters, operations and median seconds of one sample of a training's configuration."""
    patches = "patch_size" in config
    sides = config["patch_size"] if patches else [config["size"], config["size"]]
    shape = (1, 1 if patches else len(config["offsets"]), *sides)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network: nn.Module = config.get_parsed_content("network_def").eval().to(device)
    sample = torch.randn(shape, device=device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(sample)
    return {
        "Sample": " x ".join(map(str, shape[1:])),
        "Parameters": sum(p.numel() for p in network.parameters()),
        "GFLOP": round(counter.get_total_flops() / 1e9, 2),
        "Seconds": float(f"{statistics.median(_seconds(network, sample)):.3g}"),
    }


@torch.inference_mode()
def _seconds(network: nn.Module, sample: torch.Tensor) -> Iterator[float]:
    for _ in range(REPEATS):
        begin = time.perf_counter()
        network(sample)
        if sample.is_cuda:
            torch.cuda.synchronize()
        yield time.perf_counter() - begin


def _markdown(table: pd.DataFrame) -> str:
    shown = table.assign(Parameters=table["Parameters"].map("{:,}".format))
    return markdown_table([*shown.columns], shown.itertuples(index=False), "llrrr") + "\n"
