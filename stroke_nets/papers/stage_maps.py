"""Save what AGMR-Net's stages make of one slice, for the figures of its attention and fusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stroke_nets.losses.patch_attention import prior_map
from stroke_nets.networks.agmr_net import CPA
from stroke_nets.training.slices import slice_stacks


def largest_lesion(data: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The case of a data list (`data.manifest.datalist`) with most lesion voxels."""
    return max(data, key=lambda case: case["record"]["lesion_voxels"])


@torch.no_grad()
def save_stage_maps(
    network: nn.Module,
    case: Mapping[str, Any],
    path: Path | str,
    z: int | None = None,
) -> None:
    """Run one slice through a network and save its CPA stages and its fusion weights.

    Written, as a compressed `.npz`: `image` and `label` (H, W), `prior` (G, G), for CPA stage i
    `input<i>` and `output<i>` (channel means, H_i x W_i) and `attention<i>` (G, G, after the
    sigmoid), and for fusion j the weights of the 2D branch, `plane_weight<j>` (C,). A network
    without CPA, or without such weights, leaves those out.

    Args:
        network: AGMR-Net or one of its ablations.
        case: `image` and `label` of shape (1, H, W, D), as the network's preprocessing gives them.
        path: the file to write.
        z: the slice; by default the one with the largest lesion area.
    """
    device = next(network.parameters()).device
    image, label = (torch.as_tensor(np.asarray(case[key]))[0] for key in ("image", "label"))
    z = int((label > 0).sum(dim=(0, 1)).argmax()) if z is None else z
    found: dict[str, Tensor] = {"image": image[..., z], "label": label[..., z]}
    handles = [*_follow_attention(network, found), *_follow_fusion(network, found)]
    network.eval()
    try:
        network(slice_stacks(image.float())[z : z + 1].contiguous().to(device))
    finally:
        for handle in handles:
            handle.remove()
    if "attention1" in found:
        found["prior"] = prior_map(label[None, None, ..., z], found["attention1"].shape[-1])[0, 0]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {key: value.cpu().numpy() for key, value in found.items()}
    np.savez_compressed(path, **arrays)


def _follow_attention(network: nn.Module, found: dict[str, Tensor]) -> list[Any]:
    """Put the means and the map of each CPA, in the order of the stages, into `found`."""

    def hook(_: nn.Module, inputs: tuple[Tensor], result: tuple[Tensor, list[Tensor]]) -> None:
        stage = sum(key.startswith("attention") for key in found) + 1
        attended, maps = result
        found[f"input{stage}"] = inputs[0][0].mean(0)
        found[f"attention{stage}"] = torch.sigmoid(maps[0][0, 0])
        found[f"output{stage}"] = attended[0].mean(0)

    return [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, CPA)]


def _follow_fusion(network: nn.Module, found: dict[str, Tensor]) -> list[Any]:
    """Put the 2D branch's channel weights of each fusion into `found`."""

    def hook(_: nn.Module, inputs: tuple[Tensor], weight: Tensor) -> None:
        fusion = sum(key.startswith("plane_weight") for key in found) + 1
        found[f"plane_weight{fusion}"] = weight[0].flatten()

    gates = [m for name, m in network.named_modules() if name.endswith("plane_gate")]
    return [gate.register_forward_hook(hook) for gate in gates]
