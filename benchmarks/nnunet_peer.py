"""nnU-Net v2's predictor, in a separate process for `predict_cpu.py`, in-process for `gpu.py`.

Its environment (nnU-Net requires torchvision, which is not needed here and would replace PyTorch):

    python -m venv peer && peer/bin/pip install torch==2.13.0 --index-url .../whl/cpu
    peer/bin/pip install --no-deps nnunetv2==2.8.1 dynamic-network-architectures acvl-utils ...

`stroke_nets` must be importable there too (PYTHONPATH). It reads one line per request (a number)
and writes one line of JSON.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(folder, tempfile.gettempdir())  # silences its warning about them


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules for packages that nnU-Net imports but never calls here."""

    NAMES = ("torchvision", "timm", "graphviz", "hiddenlayer")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Handle those packages only."""
        if name.partition(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        """A module in which every name is a class."""

        class Module(types.ModuleType):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (torch.nn.Module,), {})

        return Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing."""


def nnunet_network(widths: list[int], deep_supervision: bool = False) -> torch.nn.Module:
    """nnU-Net v2's plain U-Net, as its planner configures it."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    stages = len(widths)
    return PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=widths,
        conv_op=torch.nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    )


def predictor(
    network: torch.nn.Module, patch: list[int], device: str, flips: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """nnU-Net's sliding-window predictor for C x D x H x W, with its own settings."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    with redirect_stdout(sys.stderr):
        sweep = nnUNetPredictor(use_mirroring=flips, device=torch.device(device), allow_tqdm=False)
    sweep.network = network.to(device).eval()
    sweep.allowed_mirroring_axes = (0, 1, 2) if flips else None
    sweep.configuration_manager = types.SimpleNamespace(patch_size=patch)
    sweep.label_manager = types.SimpleNamespace(num_segmentation_heads=2)

    def run(volume: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), redirect_stdout(sys.stderr):
            logits: torch.Tensor = sweep.predict_sliding_window_return_logits(volume)
        return logits

    return run


def serve(job: Path) -> None:
    """Answer every line of the input with one prediction and its time.

    ``job`` is written by `predict_cpu.py`: ``ours`` (weights of our U-Net + MSCSA; None: nnU-Net's
    own network), ``widths``, ``patch``, ``volume``, ``threads``, and ``weights``, the output file
    for nnU-Net's weights.
    """
    from record import peak_mib, timed

    wanted = torch.load(job, weights_only=True)
    torch.set_num_threads(wanted["threads"])
    if wanted["ours"] is None:
        torch.manual_seed(0)
        network = nnunet_network(wanted["widths"])
        torch.save({"network_weights": network.state_dict()}, wanted["weights"])
    else:
        from stroke_nets.networks.mscsa import MSCSA
        from stroke_nets.networks.nnunet import PlainUNet

        widths = wanted["widths"]
        network = PlainUNet(widths=widths, bias=True, skip_attention=MSCSA(widths))
        network.load_state_dict(wanted["ours"])
    run = predictor(network, wanted["patch"], "cpu", flips=False)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        clock, work = timed(lambda: run(wanted["volume"]))
        print(json.dumps({"clock": clock, "cpu": work, "peak_mib": peak_mib()}), flush=True)


sys.meta_path.insert(0, StandIns())

if __name__ == "__main__":
    serve(Path(sys.argv[1]))
