"""A method's network for the browser: one ONNX file, and what surrounds the network as JSON.

onnxruntime-web's WebGPU provider has no 3D transposed convolution and fails in the first one, so
each is written as a 1 x 1 x 1 convolution whose eight groups of channels are interleaved. Where
kernel and stride are 2 the two are the same function.
"""

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor, nn

from stroke_nets.errors import UsageError
from stroke_nets.files import hidden_folder
from stroke_nets.inference.method import Method, read_config
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.inference.weights import Weights, choose
from stroke_nets.packing.archive import file_sha256
from stroke_nets.packing.web_template import write_template
from stroke_nets.transforms.brain_cut import BrainCutd

NETWORK, LISTED, TEMPLATE = "network.onnx", "weights.json", "template"
LARGE = 1024  # values of a tensor that is worth another form
OPSET = 20  # onnxruntime-web 1.30 runs it


class PackedForWeb(NamedTuple):
    """What `pack_for_web` wrote: the folder, and the SHA-256 of its network."""

    folder: Path
    sha256: str


class InterleavedConv(nn.Module):
    """A 3D transposed convolution of kernel and stride 2, as a 1 x 1 x 1 convolution.

    Example:
        >>> up = nn.ConvTranspose3d(3, 5, 2, stride=2)
        >>> features = torch.rand(1, 3, 4, 6, 2)
        >>> torch.allclose(InterleavedConv(up)(features), up(features), atol=1e-6)
        True
    """

    def __init__(self, up: nn.ConvTranspose3d) -> None:
        """Take the transposed convolution.

        Raises:
            ValueError: its kernel, stride or padding is another.
        """
        super().__init__()
        plain = up.padding == up.output_padding == (0, 0, 0) and up.groups == 1
        if not (plain and up.kernel_size == up.stride == (2, 2, 2)):
            raise ValueError(f"only kernel and stride 2 can be interleaved, got {up}")
        self.channels = up.out_channels
        self.conv = nn.Conv3d(up.in_channels, 8 * up.out_channels, 1, bias=up.bias is not None)
        with torch.no_grad():
            self.conv.weight.copy_(up.weight.flatten(1).t()[:, :, None, None, None])
            if self.conv.bias is not None and up.bias is not None:
                self.conv.bias.copy_(up.bias.repeat_interleave(8))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to (B, C', 2D, 2H, 2W)."""
        b, _, d, h, w = features.shape
        eight = self.conv(features).view(b, self.channels, 2, 2, 2, d, h, w)
        return eight.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, self.channels, 2 * d, 2 * h, 2 * w)


def pack_for_web(
    name: str,
    out: Path,
    weights: Sequence[Path] = (),
    overlay: str | None = None,
    int8: bool = False,
) -> PackedForWeb:
    """Write a method's network and its settings for a page that runs it.

    ``<bundle>[_<overlay>]_web`` then holds ``network.onnx``, float32, its weights inside, from a
    patch (1, C, D, H, W) named ``patch`` to ``logits`` (1, K, D, H, W); and ``weights.json``, see
    docs/web.md.

    Args:
        name: name of the bundle.
        out: folder; created if necessary.
        weights: a checkpoint; by default the bundle's published weights.
        overlay: of the checkpoint's training.
        int8: store the weights in 8 bits (`quantise`); they are still computed with in float32.

    Raises:
        UsageError: the method works on slices or has several networks, a package is missing, or
            the output is there already.
        DataError: the weights cannot be read or belong to another network.
    """
    (chosen,) = choose([name], weights, overlay)
    method = Method(chosen, torch.device("cpu"), backend="torch", precision="float32")
    if not isinstance(method.inferer, PatchInferer):
        raise UsageError(f"pack --web: {name} works on slices; choose a method of 3D patches")
    stem = name if chosen.facts["overlay"] == "default" else f"{name}_{chosen.facts['overlay']}"
    folder = out / f"{stem}_web"
    if folder.exists():
        raise UsageError(f"{folder}: is there already; delete it, or give another --out")
    with hidden_folder(out) as temporary:
        built = temporary / folder.name
        built.mkdir()
        export(method.network, method.inferer.patch_size, built / NETWORK, int8)
        digest = file_sha256(built / NETWORK)
        listed = surroundings(method, chosen) | {"file": NETWORK, "sha256": digest}
        write_template(built / TEMPLATE)
        (built / LISTED).write_text(json.dumps(listed, indent=2) + "\n")
        os.replace(built, folder)
    return PackedForWeb(folder, digest)


def export(network: nn.Module, patch_size: Sequence[int], file: Path, int8: bool = False) -> None:
    """Write a network as ONNX for patches of one size; the network itself is changed.

    Args:
        network: maps (1, C, D, H, W) to logits (1, K, D, H, W).
        patch_size: D, H, W.
        file: to write.
        int8: store the weights in 8 bits, else in 16 where that is exact.

    Raises:
        UsageError: onnxscript is not installed.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UsageError("onnxscript is not installed; run: pip install onnx onnxscript")
    network = interleaved(network.eval())
    channels = next(p.shape[1] for p in network.parameters() if p.dim() > 2)
    patch = torch.zeros(1, channels, *patch_size)
    with quiet():
        program = torch.onnx.export(
            network,
            (patch,),
            input_names=["patch"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is None of TorchScript's exporter alone
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")  # lines of source with this machine's paths
    (quantise if int8 else halve)(model.graph)
    file.write_bytes(model.SerializeToString(deterministic=True))


def halve(graph: Any) -> None:
    """Store weights that float16 holds exactly in it, and cast them back: half the file.

    Published weights are float16, so that their network computes the same as before.

    Args:
        graph: an ONNX graph, changed in place.
    """
    from onnx import TensorProto, helper, numpy_helper

    for tensor, values in _large(graph):
        half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            graph.initializer.remove(tensor)
            stored, name = f"{tensor.name}_half", tensor.name
            graph.initializer.append(numpy_helper.from_array(half, stored))
            graph.node.insert(0, helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))


def quantise(graph: Any) -> None:
    """Store weights as 8-bit whole numbers, a scale for each output channel: a quarter of float32.

    The largest value of a channel becomes 127 or -127. Weights are multiplied back when the network
    is run (DequantizeLinear) and nothing else is rounded, so no patients are needed to calibrate.

    Args:
        graph: an ONNX graph, changed in place.
    """
    from onnx import helper, numpy_helper

    for tensor, values in _large(graph):
        scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / 127
        scale[scale == 0] = 1
        name, stored = tensor.name, np.rint(values / scale).astype(np.int8)
        graph.initializer.remove(tensor)
        kept = {f"{name}_int8": stored, f"{name}_scale": scale.ravel().astype(np.float32)}
        for part, array in kept.items():
            graph.initializer.append(numpy_helper.from_array(array, part))
        graph.node.insert(0, helper.make_node("DequantizeLinear", [*kept], [name], axis=0))


def _large(graph: Any) -> list[tuple[Any, np.ndarray]]:
    """Tensors of a graph that are worth another form, and their float32 values."""
    from onnx import numpy_helper

    found = [(tensor, numpy_helper.to_array(tensor)) for tensor in graph.initializer]
    return [(t, v) for t, v in found if v.dtype == np.float32 and v.size >= LARGE]


def interleaved(network: nn.Module) -> nn.Module:
    """A network, in place, with an `InterleavedConv` for each 3D transposed convolution."""
    for part in list(network.modules()):
        for child, module in part.named_children():
            if isinstance(module, nn.ConvTranspose3d):
                setattr(part, child, InterleavedConv(module))
    return network


def surroundings(method: Method, weights: Weights) -> dict[str, Any]:
    """What a page has to know of a method besides its network, as docs/web.md defines it."""
    config, inferer = read_config(weights), method.inferer
    before, after = (
        method.preprocessing,
        Compose([method.activation, method.invert, method.to_mask]),
    )
    cuts = [one for one in after.flatten().transforms if isinstance(one, BrainCutd)]
    return {
        "weights": weights.facts,
        "preprocessing": _names(before),
        "spacing": config.get("spacing"),
        "masked_zscore": config["masked_zscore"],
        "patch_size": list(inferer.patch_size),
        "step": inferer.step,
        "flips": [[axis - 2 for axis in axes] for axes in inferer.flips],
        "postprocessing": _names(after),
        "brain_margin_mm": cuts[0].margin if cuts else None,
        "threshold": method.threshold,
        "minimum_ml": method.minimum_ml,
    }


def _names(transforms: Compose) -> list[str]:
    """The classes of transforms, in order."""
    return [type(one).__name__ for one in transforms.flatten().transforms]


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter's progress and its warnings about its own calls are not shown."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
