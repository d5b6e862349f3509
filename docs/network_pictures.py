"""Draw the parts of each bundle's network, bundles/*/docs/network.svg, from the network itself.

    python docs/network_pictures.py

A part is drawn where it runs: to the right in the order of calls, downwards with the resolution.
A line leads from each part to those that use its result; the papers' own modules are orange. The
network runs on PyTorch's meta device, which computes shapes only.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.runs.bundle_run import config_files

MOST = 30  # parts in a picture
LAYER = 4  # modules in a convolution with its normalization and activation
LARGE = 0.45  # of the parameters: such a part is taken apart
PLAIN, SPECIAL = "#dbe4f0", "#ffd9a0"
STEP = 0.55  # columns between parts of different resolution
WIDTH, HEIGHT = 1.02, 0.66  # of a box, in inches


class Traced(Tensor):
    """A tensor that remembers which parts its values come from."""

    sources: frozenset[str] = frozenset()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation; its results come from where its arguments do."""
        found = super().__torch_function__(func, types, args, kwargs or {})
        return tagged(found, sources_of((args, kwargs)))


def sources_of(values: Any) -> frozenset[str]:
    """Where the tensors in nested values come from."""
    return frozenset().union(*(leaf.sources for leaf in tree_leaves(values) if is_traced(leaf)))


def is_traced(value: Any) -> bool:
    """Whether a value remembers its sources."""
    return isinstance(value, Traced)


def tagged(values: Any, sources: frozenset[str]) -> Any:
    """Nested values whose tensors come from the given parts."""

    def tag(tensor: Tensor) -> Tensor:
        traced = tensor.as_subclass(Traced)
        traced.sources = sources
        return traced

    return tree_map_only(Tensor, tag, values)


@dataclass
class Part:
    """A part of a network.

    Attributes:
        name: as the network calls it.
        module: itself.
        sources: names of the parts whose results it uses; empty: the image.
        shape: of its first result, without the batch.
    """

    name: str
    module: nn.Module
    sources: set[str] = field(default_factory=set)
    shape: tuple[int, ...] = ()


def parts_of(network: nn.Module, image: Tensor) -> list[Part]:
    """The parts of a network in the order in which they run.

    Args:
        network: on the meta device.
        image: a batch on the meta device.
    """
    unique = {module: name for name, module in reversed(_apart(network))}  # some have two names
    found = {name: Part(name, module) for module, name in unique.items()}
    order: list[Part] = []

    def before(part: Part) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            part.sources |= sources_of((args, kwargs))

        return hook

    def after(part: Part) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            if part not in order:
                part.shape = tuple(next(iter(tree_leaves(output))).shape[1:])
                order.append(part)
            return tagged(output, frozenset([part.name]))

        return hook

    for part in found.values():
        part.module.register_forward_pre_hook(before(part), with_kwargs=True)
        part.module.register_forward_hook(after(part), with_kwargs=True)
    with torch.no_grad():
        network(tagged(image, frozenset()))
    return order


def _apart(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Parts of a network that have parameters: lists and the largest are taken apart."""
    parts, whole = _inside("", network), _size(network)
    while True:
        large = [
            index
            for index, (_, part) in enumerate(parts)
            if isinstance(part, nn.ModuleList)
            or (_size(part) > LARGE * whole and _has_stages(part))
        ]
        if not large:
            return parts
        name, part = parts[large[0]]
        more = parts[: large[0]] + _inside(f"{name}.", part) + parts[large[0] + 1 :]
        if len(more) > MOST:
            return parts
        parts = more


def _inside(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(prefix + name, part) for name, part in module.named_children() if _size(part)]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _has_stages(module: nn.Module) -> bool:
    """Whether a module's parts are larger than layers; not asked of the papers' own modules."""
    parts = _inside("", module)
    if _repeats(module) or (_is_ours(module) and len(parts) > 1):
        return False
    return any(len(list(part.modules())) > LAYER for _, part in parts)


def _repeats(module: nn.Module) -> bool:
    """Whether a module is a row of modules of one class."""
    return isinstance(module, nn.Sequential) and len({type(one) for one in module}) == 1


def draw(parts: list[Part], sides: tuple[int, ...], title: str) -> Figure:
    """Draw parts where they run.

    Args:
        parts: in the order in which they run.
        sides: of the image, in voxels.
        title: above the picture.
    """
    depths = [_depth(part, sides) for part in parts]
    columns = [0.0]
    for before, depth in pairwise(depths):
        columns.append(columns[-1] + (1.0 if before == depth else STEP))
    size = ((columns[-1] + 1) * (WIDTH + 0.14), (max(depths) + 2) * (HEIGHT + 0.3))
    figure = Figure(size, dpi=80)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.5, columns[-1] + 0.5), ylim=(-max(depths) - 0.5, 1.5))
    axes.axis("off")
    axes.text(-0.43, 1.25, title, fontsize=9, va="center")
    names = [part.name for part in parts]
    places = dict(zip(names, zip(columns, (-d for d in depths), strict=True), strict=True))
    for part in parts:
        for source in part.sources & places.keys():
            _line(axes, places[source], places[part.name])
    for part in parts:
        _box(axes, part, places[part.name])
    return figure


def _depth(part: Part, sides: tuple[int, ...]) -> float:
    """How often the resolution of a part's result was halved."""
    space = part.shape[1:]
    if len(space) != len(sides) or 1 in space:
        space = space or (1,)
    return round(max(0.0, math.log2(max(sides) / max(space))))


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    level = start[1] == end[1]
    bend = -0.12 if level and end[0] - start[0] > 1.5 else 0.0
    side = 0.43 if level else 0.0  # lines between levels end behind the boxes
    line = FancyArrowPatch(
        (start[0] + side, start[1]),
        (end[0] - side, end[1]),
        arrowstyle="-",
        connectionstyle=f"arc3,rad={bend}",
        color="#7a8794",
        linewidth=0.8,
        shrinkA=0,
        shrinkB=0,
        zorder=0,
    )
    axes.add_patch(line)


def _box(axes: Axes, part: Part, place: tuple[float, float]) -> None:
    x, y = place
    box = FancyBboxPatch(
        (x - 0.42, y - 0.34),
        0.84,
        0.68,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=SPECIAL if _is_ours(part.module) else PLAIN,
        edgecolor="#445",
        linewidth=0.6,
    )
    axes.add_patch(box)
    shape = " x ".join(map(str, part.shape[1:])) if part.shape[1:] else ""
    texts = (
        (0.2, _short(part.name), 6.2),
        (0.0, _kind(part.module), 6.2),
        (-0.2, f"{part.shape[0]} | {shape}", 6),
    )
    for up, text, size in texts:
        axes.text(x, y + up, text, fontsize=size, ha="center", va="center", clip_on=True)


def _kind(module: nn.Module) -> str:
    """The class of a module, what it repeats, and which of the project's modules it holds."""
    if _repeats(module):
        return f"{len(module)} x {_kind(module[0])}"
    if isinstance(module, nn.Sequential):
        module = max(module, key=_size)
    inner = {type(one).__name__ for one in module.modules() if _is_ours(one) and one is not module}
    named = sorted(name for name in inner if name.isupper())  # CPA, CFF, MDU, FSM, CLF
    return " + ".join([type(module).__name__, *named])


def _short(name: str) -> str:
    """The last of a name's components, with the one before if it is a number."""
    *before, last = name.split(".")
    return f"{before[-1]}.{last}" if before and last.isdigit() else last


def _is_ours(module: nn.Module) -> bool:
    return type(module).__module__.startswith("stroke_nets")


def network_of(config: ConfigParser) -> tuple[nn.Module, Tensor]:
    """The network of a training's configuration and a sample, on the meta device."""
    patches = "patch_size" in config
    sides = config["patch_size"] if patches else [config["size"], config["size"]]
    channels = 1 if patches else len(config["offsets"])
    with torch.device("meta"):
        return config.get_parsed_content("network_def").eval(), torch.empty(1, channels, *sides)


def main() -> None:
    """Draw every bundle that trains."""
    matplotlib.rcParams["svg.hashsalt"] = "stroke-nets"  # the same bytes each time
    matplotlib.rcParams["svg.fonttype"] = "none"  # text, not outlines
    for name in bundle_names():
        folder = find_bundle(name)
        if not (folder / "configs" / "train.yaml").is_file():
            continue  # an ensemble has the networks of its members
        config = ConfigParser()
        config.read_config(config_files(folder, "train"))
        network, image = network_of(config)
        parts = parts_of(network, image)
        sides = tuple(image.shape[2:])
        file = folder / "docs" / "network.svg"
        draw(parts, sides, f"{name}: image {' x '.join(map(str, image.shape[1:]))}").savefig(
            file, metadata={"Date": None}
        )
        print(f"wrote {file} ({len(parts)} parts)")


if __name__ == "__main__":
    main()
