"""AGMR-Net's Table 2: the layer list, printed from the network itself.

``layers.json`` holds, for each block, the paper's output size. The paper prints parameter counts
for whole networks only (Table 9), so those of the blocks are this network's own and are compared
with nothing.
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
from stroke_nets.text_table import markdown_table

PAPER_TOTAL = 23_799_283  # Table 9
HEAD = ("Block", "Output", "Table 2", "Parameters")
NOTE = (
    "Printed from the network at its full widths, for 4 slices of 192 x 192; sizes without batch "
    "and channels. 'Table 2' is the paper's output size; its total is Table 9's. The paper prints "
    "no parameters for single blocks: this is one of several layer lists that meet the five "
    "totals of Table 9."
)


def layer_rows() -> list[tuple[str, str, str, int]]:
    """One row for each block, and the whole network beside the paper's total."""
    listed = json.loads((resources.files("stroke_nets.papers") / "layers.json").read_text())
    with torch.device("meta"):
        network, slices = AGMRNet().eval(), torch.empty(1, 4, 192, 192)
    sizes: dict[str, str] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(_remember(name, sizes))
    network(slices)
    rows = [
        (label, sizes[name], size, _count(network.get_submodule(name)))
        for label, name, size in listed
    ]
    return [*rows, ("Total", "", f"{PAPER_TOTAL:,}", _count(network))]


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
    table = markdown_table(HEAD, ((*row[:3], f"{row[3]:,}") for row in rows), "lllr")
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([HEAD, *rows])
    title = "AGMR-Net (Du, Ma, Song), Table 2: layers"
    texts = {"md": f"# {title}\n\n{table}\n\n- {NOTE}\n", "csv": buffer.getvalue()}
    for ending, text in texts.items():
        write_whole(out / f"{LAYERS}.{ending}", text)
    return out / f"{LAYERS}.md"
