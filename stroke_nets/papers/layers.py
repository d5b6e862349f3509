"""AGMR-Net's Table 2: the layer list, printed from the network itself.

``layers.json`` holds, for each block, the paper's output size and the parameters that its layers
must have for the totals of Table 9 to come out; the paper prints no counts for each block.
"""

import csv
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stroke_nets.files import write_whole
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.papers.grid import LAYERS

PAPER_TOTAL = 23_799_283  # Table 9
HEAD = ("Block", "Output", "Table 2", "Parameters", "Expected", "Agrees")
NOTE = (
    "Printed from the network at its full widths, for 4 slices of 192 x 192; sizes without batch "
    "and channels. Expected: what the block's layers have if Table 9's five totals are to come out."
)


def layer_rows() -> list[tuple[str, str, str, int, int, str]]:
    """One row for each block, and their sum against the whole network and the paper's total."""
    listed = json.loads((resources.files("stroke_nets.papers") / "layers.json").read_text())
    with torch.device("meta"):
        network, slices = AGMRNet().eval(), torch.empty(1, 4, 192, 192)
    sizes: dict[str, str] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(_remember(name, sizes))
    network(slices)
    rows = []
    for label, name, size, count in listed:
        ours = _count(network.get_submodule(name))
        agrees = "yes" if (sizes[name], ours) == (size, count) else "NO"
        rows.append((label, sizes[name], size, ours, count, agrees))
    total = _count(network)
    whole = sum(row[3] for row in rows) == total == PAPER_TOTAL
    return [*rows, ("Total", "", "", total, PAPER_TOTAL, "yes" if whole else "NO")]


def _remember(name: str, sizes: dict[str, str]) -> Any:
    def hook(_: nn.Module, __: Any, result: Any) -> None:
        output: Tensor = result if isinstance(result, Tensor) else result[0]
        sizes[name] = " x ".join(map(str, output.shape[2:]))

    return hook


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def write_layers(out: Path) -> Path:
    """Write the list as Markdown and CSV; return the Markdown file."""
    out.mkdir(parents=True, exist_ok=True)
    rows = layer_rows()
    lines = [HEAD, ("---",) * 3 + ("---:",) * 2 + ("---",)]
    lines += [(*row[:3], f"{row[3]:,}", f"{row[4]:,}", row[5]) for row in rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([HEAD, *rows])
    title = "AGMR-Net (Du, Ma, Song), Table 2: layers"
    texts = {"md": f"# {title}\n\n{table}\n\n- {NOTE}\n", "csv": buffer.getvalue()}
    for ending, text in texts.items():
        write_whole(out / f"{LAYERS}.{ending}", text)
    return out / f"{LAYERS}.md"
