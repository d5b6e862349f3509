"""Draw the parts of each bundle's network, bundles/*/docs/network.svg, from the network itself.

    python docs/network_pictures.py

Parts stand below each other in the order of calls, further to the right the lower their resolution:
a U-Net lies on its side. An arrow leads from each part to those that use its result, and beside the
boxes where others would cover it; the papers' own modules are orange. The
network runs on PyTorch's meta device, which computes shapes only.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.runs.bundle_run import config_files

MOST = 30  # parts in a picture
LAYER = 4  # modules in a convolution with its normalization and activation
LARGE = 0.45  # of the parameters: such a part is taken apart
PLAIN, SPECIAL = "#dbe4f0", "#ffd9a0"
WIDTH, HEIGHT, ROW = 4.7, 0.24, 0.33  # of a box and from one to the next, in inches
INDENT, LANE, MARGIN = 0.36, 0.11, 0.08  # inches
SIZE = 9  # points
LINE = "#5b6875"


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
    """Draw parts below each other as they run, further to the right the lower their resolution.

    Args:
        parts: in the order in which they run.
        sides: of the image, in voxels.
        title: above the picture.
    """
    depths = [_depth(part, sides) for part in parts]
    rows = {part.name: row for row, part in enumerate(parts)}
    links = [(rows[s], row) for row, part in enumerate(parts) for s in part.sources & rows.keys()]
    links = sorted(links, key=lambda link: (link[1] - link[0], link))
    far = [link for link in links if _is_hidden(depths, *link)]
    lanes = _lanes(far)
    across = INDENT * max(depths) + WIDTH + LANE * (max(lanes, default=0) + 3)
    high = ROW * (len(parts) + 1)
    figure = Figure((across + 2 * MARGIN, high), dpi=80, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, across + MARGIN), ylim=(ROW * (len(parts) - 0.4), -1.4 * ROW))
    axes.axis("off")
    axes.text(0, -0.9 * ROW, title, fontsize=SIZE, va="center")
    for start, end in links:
        if (start, end) not in far:
            x = INDENT * max(depths[start], depths[end]) + INDENT / 2
            _line(axes, [(x, ROW * start + HEIGHT / 2), (x, ROW * end - HEIGHT / 2)])
    right = INDENT * max(depths) + WIDTH
    for (start, end), lane in zip(far, lanes, strict=True):
        x = right + LANE * (lane + 2)
        way = [(INDENT * depths[start] + WIDTH, ROW * start + HEIGHT / 4)]
        way += [(x, way[0][1]), (x, ROW * end - HEIGHT / 4)]
        _line(axes, [*way, (INDENT * depths[end] + WIDTH, way[-1][1])])
    for row, (part, depth) in enumerate(zip(parts, depths, strict=True)):
        _box(axes, part, INDENT * depth, ROW * row)
    return figure


def _is_hidden(depths: list[int], start: int, end: int) -> bool:
    """Whether a part between two others covers the line from one down to the other."""
    return any(depth <= max(depths[start], depths[end]) for depth in depths[start + 1 : end])


def _lanes(links: list[tuple[int, int]]) -> list[int]:
    """Numbers of vertical lanes, such that no two links in a lane overlap."""
    lanes: list[int] = []
    for start, end in links:
        before = zip(links, lanes, strict=False)
        taken = {lane for (first, last), lane in before if first <= end and start <= last}
        lanes.append(min(set(range(len(links))) - taken))
    return lanes


def _depth(part: Part, sides: tuple[int, ...]) -> int:
    """How often the resolution of a part's result was halved."""
    space = part.shape[1:]
    if len(space) != len(sides) or 1 in space:
        space = space or (1,)
    return round(max(0.0, math.log2(max(sides) / max(space))))


def _line(axes: Axes, way: list[tuple[float, float]]) -> None:
    """Draw a line behind the boxes, with an arrow at its end."""
    axes.plot(*zip(*way, strict=True), color=LINE, linewidth=1, zorder=0)
    arrow = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", way[-1], way[-2], arrowprops=arrow, zorder=0)


def _box(axes: Axes, part: Part, left: float, middle: float) -> None:
    box = FancyBboxPatch(
        (left, middle - HEIGHT / 2),
        WIDTH,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.04",
        facecolor=SPECIAL if _is_ours(part.module) else PLAIN,
        edgecolor="#445",
        linewidth=0.6,
    )
    axes.add_patch(box)
    shape = " x ".join(map(str, part.shape[1:])) if part.shape[1:] else ""
    texts = (
        (0.06, _short(part.name), "left"),
        (0.36 * WIDTH, _kind(part.module), "left"),
        (WIDTH - 0.06, f"{part.shape[0]} | {shape}", "right"),
    )
    for x, text, side in texts:
        axes.text(left + x, middle, text, fontsize=SIZE, ha=side, va="center", clip_on=True)


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
