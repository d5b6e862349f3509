"""Prediction on a CPU: U-Nets against nnU-Net v2's predictor, AGMR-Net against eager.

    python benchmarks/predict_cpu.py --peer-python peer/bin/python     # 189 x 233 x 197, 18 tiles

`nnunet_peer.py` describes how to make the peer's environment. Both use the same weights, volume and
threads without flips, in alternating rounds. Compiled networks are kept on disk, so compiling is
timed separately. AGMR-Net: 192 x 192 x 189, against PyTorch's eager float32, one slice at a time.
bfloat16 is used on CPUs that support it (AMX or AVX-512), otherwise float32.
Writes results/predict_cpu.json, or another name with --result.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.transforms import CenterSpatialCrop
from record import comparison, in_turn, timed, write

from stroke_nets.inference.backend import choose_backend, choose_bfloat16, compiled
from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.sliding_patch import PatchInferer, tile_starts
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet
from stroke_nets.registration.volume import brain as template
from stroke_nets.training.checkpoint import load_weights

HERE = Path(__file__).parent
WIDTHS, PATCH = [32, 64, 128, 256, 320, 320], [128, 128, 128]
AGMR_WIDTHS, SIZE, SLICES = (32, 64, 128, 256, 512), 192, 189
GOAL, LIMIT_S = 8.0, 12.0


class Peer:
    """nnU-Net's predictor in its own environment."""

    def __init__(self, python: str, job: dict[str, Any], folder: Path) -> None:
        """Start it and wait until its network is built."""
        file = folder / "job.pt"
        torch.save(job, file)
        command = [python, str(HERE / "nnunet_peer.py"), str(file)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer stopped; its message stands above")
        return dict(json.loads(line))

    def __call__(self) -> tuple[float, float]:
        """Run one prediction; return its wall-clock and processor seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("1\n")
        self.process.stdin.flush()
        found = self.answer()
        return found["clock"], found["cpu"]

    def close(self) -> None:
        """Stop the process."""
        self.process.communicate()


def brain(shape: list[int]) -> torch.Tensor:
    """The centre of the template's brain (189 x 233 x 197) with unit variance: D x H x W."""
    whole = torch.from_numpy(template().voxels)
    scan = CenterSpatialCrop(shape)(whole.permute(2, 1, 0)[None])[0].as_tensor()
    return ((scan - scan.mean()) / scan.std()).contiguous()


def patches(name: str, options: argparse.Namespace, volume: torch.Tensor) -> dict[str, Any]:
    """One 3D network, ours and the peer's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        attention = MSCSA(options.widths) if name == "unet_mscsa" else None
        network = PlainUNet(widths=options.widths, bias=True, skip_attention=attention).eval()
        job = {"ours": network.state_dict() if attention else None, "widths": options.widths}
        job |= {"patch": options.patch, "volume": volume[None], "threads": options.threads}
        peer = Peer(options.peer_python, job | {"weights": str(folder / "nnunet.pth")}, folder)
        if attention is None:  # nnU-Net's own network and weights
            network.load_state_dict(load_weights(folder / "nnunet.pth", network))
        shape = (1, 1, *options.patch)
        began = time.perf_counter()
        run = compiled(network, shape, options.backend, folder, precision=options.precision)
        compile_s = time.perf_counter() - began
        sweep = PatchInferer(options.patch, flips=False)
        times = in_turn(
            {"ours": lambda: timed(lambda: sweep(volume[None, None], run)), "nnU-Net": peer},
            options.repeats,
        )
        peer.close()
    return {"times": times, "compile_s": compile_s}


def slices(options: argparse.Namespace, volume: torch.Tensor) -> dict[str, Any]:
    """AGMR-Net on a whole volume: ours, and eager float32 one slice at a time."""
    network = AGMRNet(widths=options.agmr_widths).eval()
    began = time.perf_counter()
    size = volume.shape[0]
    shape = (options.batch, 4, size, size)
    run = compiled(network, shape, options.backend, precision=options.precision)
    compile_s = time.perf_counter() - began
    eager = compiled(network, shape, "torch", precision="float32")

    def plain() -> None:
        padded = torch.nn.functional.pad(volume, (2, 1))
        for z in range(volume.shape[2]):
            eager(padded[None, ..., z : z + 4].permute(0, 3, 1, 2).contiguous())

    sweep = SliceStackInferer(batch_size=options.batch)
    calls: dict[str, Callable[[], tuple[float, float]]] = {
        "ours": lambda: timed(lambda: sweep(volume[None, None], run)),
        "eager": lambda: timed(plain),
    }
    return {"times": in_turn(calls, options.repeats), "compile_s": compile_s}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--shape", type=int, nargs=3, default=[189, 233, 197])
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--batch", type=int, default=4, help="slices at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", default=["unet", "unet_mscsa", "agmr_net"])
    parser.add_argument("--result", default="predict_cpu", help="name of the JSON file")
    parser.add_argument("--tiny", action="store_true", help="narrow networks, to try the program")
    parser.add_argument("--note", default="", help="what was tried, where a goal is not reached")
    options = parser.parse_args()
    options.widths, options.patch, options.agmr_widths = WIDTHS, PATCH, AGMR_WIDTHS
    size = SIZE
    if options.tiny:
        options.widths, options.patch, options.agmr_widths = [4, 8, 8], [16] * 3, (4, 8, 8, 16, 16)
        options.shape, options.slices, size = [16, 16, 24], 5, 32
    torch.set_num_threads(options.threads)
    counts = [len(tile_starts(n, p)) for n, p in zip(options.shape, options.patch, strict=True)]
    comparisons, measured = {}, {}
    # of one thread, processor seconds tell the same without the machine's other work
    kinds = ("cpu_s",) if options.threads == 1 else ("clock_s", "cpu_s")
    for name in ("unet", "unet_mscsa"):
        if name in options.only:
            measured[name] = patches(name, options, brain(options.shape))
            times = measured[name]["times"]
            what = f"{name}, {counts[0] * counts[1] * counts[2]} tiles, nnU-Net v2's predictor"
            for kind in kinds:
                figures = (times["ours"][kind], times["nnU-Net"][kind])
                comparisons[f"{what}, {kind}"] = comparison(*figures, GOAL, note=options.note)
    if "agmr_net" in options.only:
        volume = brain([options.slices, size, size]).permute(2, 1, 0).contiguous()
        measured["agmr_net"] = slices(options, volume)
        times = measured["agmr_net"]["times"]
        what = f"agmr_net, {options.slices} slices"
        for kind in kinds:
            figures = (times["ours"][kind], times["eager"][kind])
            comparisons[f"{what}, eager float32, {kind}"] = comparison(
                *figures, GOAL, note=options.note
            )
        if "clock_s" in kinds:
            whole = times["ours"]["clock_s"] * SLICES / options.slices
            comparisons["agmr_net, 189 slices against the limit"] = comparison(
                whole, LIMIT_S, 1.0, note=options.note
            )
    cpu = torch.device("cpu")
    write(
        "predict_cpu_tiny" if options.tiny else options.result,
        comparisons,
        backend=choose_backend(options.backend, cpu),
        precision="bfloat16" if choose_bfloat16(options.precision, cpu) else "float32",
        shape=options.shape,
        tiny=options.tiny,
        measured=measured,
    )


if __name__ == "__main__":
    main()
