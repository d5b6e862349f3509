"""Training and prediction on a GPU against nnU-Net v2 with its own settings, in one process.

    peer/bin/python benchmarks/gpu.py              # in nnU-Net's environment; see nnunet_peer.py
    peer/bin/python benchmarks/gpu.py --device cpu --tiny      # tests the program only

U-Net and U-Net + MSCSA, batch 2, 128^3: a training step with deep supervision, ours in bfloat16,
channels last, compiled, with fused attention (PyTorch's SDPA) and a fused optimiser; nnU-Net's
network, loss weights and optimiser under its own AMP (float16, grad scaler) and torch.compile.
Prediction of a 189 x 233 x 197 volume with eight flips, against nnU-Net's predictor. AGMR-Net: a
training step against the eager float32 one. Model FLOPs are counted by PyTorch's FlopCounterMode on
the eager network; utilisation is relative to ``--peak-tflops`` (dense bfloat16; H100 SXM: 989).
Exits with code 2 without CUDA. Writes results/gpu.json.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from nnunet_peer import nnunet_network, predictor
from record import comparison, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.inference.backend import channels_last, compiled
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.losses.agmr import AGMRLoss
from stroke_nets.losses.deep_supervision import DeepSupervisionLoss
from stroke_nets.losses.dice_cross_entropy import DiceCrossEntropyLoss
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet
from stroke_nets.training import acceleration

WIDTHS, PATCH, VOLUME = [32, 64, 128, 256, 320, 320], [128] * 3, [189, 233, 197]
GOALS = {"train": 1.3, "mscsa": 1 / 1.08, "predict": 1.5, "agmr": 2.0}

Step = Callable[[], None]


def sgd(network: nn.Module, fused: bool) -> torch.optim.Optimizer:
    """nnU-Net's optimiser."""
    return torch.optim.SGD(
        network.parameters(), 0.01, 0.99, weight_decay=3e-5, nesterov=True, fused=fused
    )


def our_step(network: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor]) -> Step:
    """The training step of ``accelerate.yaml``, without the scaler, unused in bfloat16."""
    image, label = batch
    run = acceleration.compiled(channels_last(network.to(image.device)), image.device)
    optimizer = sgd(network, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(image.device.type, torch.bfloat16):
            value = loss(run(image), label)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()

    return step


def plain_step(network: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor]) -> Step:
    """Eager float32."""
    optimizer = sgd(network, fused=False)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def nnunet_step(widths: list[int], batch: tuple[Tensor, Tensor]) -> Step:
    """nnU-Net's `nnUNetTrainer.train_step`: float16 AMP on CUDA, scaler, compiled network."""
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    image, label = batch
    cuda = image.is_cuda
    network = nnunet_network(widths, deep_supervision=True).to(image.device)
    optimizer, run = sgd(network, fused=False), torch.compile(network)
    scaler = torch.amp.GradScaler(image.device.type, enabled=cuda)
    levels = len(widths) - 1
    weights = [0.5**i for i in range(levels - 1)] + [0.0]
    weights = [w / sum(weights) for w in weights]
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DeepSupervisionWrapper(
        DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss), weights
    )
    targets = [label[(..., *[slice(None, None, 2**i)] * 3)] for i in range(levels)]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(image.device.type, enabled=cuda):
            value = loss(run(image), targets)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()

    return step


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(
    calls: dict[str, Step], repeats: int, device: torch.device, warm_up: int = 3
) -> dict[str, float]:
    """Median seconds of calls that alternate, after each has compiled."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm_up):
            call()
    for _ in range(repeats):
        for name, call in calls.items():
            synchronize(device)
            began = time.perf_counter()
            call()
            synchronize(device)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def training_flops(network: nn.Module, image: Tensor) -> int:
    """FLOPs of one step: the forward pass, and twice as many for the backward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return 3 * int(counter.get_total_flops())


def train(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Training steps of the two U-Nets and nnU-Net's."""
    widths = options.widths
    image = torch.randn(2, 1, *options.patch, device=device)
    label = (torch.rand(2, 1, *options.patch, device=device) < 0.02).float()
    weights = [8, 4, 2, 1, 0] if len(widths) == 6 else [1] * (len(widths) - 1)
    loss = DeepSupervisionLoss(DiceCrossEntropyLoss(), weights)
    unet = PlainUNet(widths=widths, bias=True).to(device)
    mscsa = PlainUNet(widths=widths, skip_attention=MSCSA(widths, options.heads)).to(device)
    flops = {n: training_flops(net, image) for n, net in (("unet", unet), ("mscsa", mscsa))}
    steps = {
        "unet": our_step(unet, loss, (image, label)),
        "mscsa": our_step(mscsa, loss, (image, label)),
        "nnU-Net": nnunet_step(widths, (image, label)),
    }
    seconds = in_turn(steps, options.repeats, device)
    use = {n: flops[n] / seconds[n] / options.peak_tflops / 1e12 for n in flops}
    print(f"model FLOPs utilisation: {use}")
    return {"seconds": seconds, "training_flops": flops, "utilisation": use}


def predict(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """A whole volume with eight flips; both networks have nnU-Net's shape."""
    volume = torch.randn(1, *options.volume)
    peer = predictor(nnunet_network(options.widths), options.patch, device.type, flips=True)
    network = PlainUNet(widths=options.widths, bias=True).to(device).eval()
    shape = (4 if device.type == "cuda" else 1, 1, *options.patch)
    run = compiled(network, shape, options.backend, precision="bfloat16")
    sweep, there = PatchInferer(options.patch), volume[None].to(device)
    calls = {"ours": lambda: sweep(there, run).cpu(), "nnU-Net": lambda: peer(volume)}
    return {"seconds": in_turn(calls, min(options.repeats, 3), device, warm_up=1)}


def agmr(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """AGMR-Net's training step, ours and eager float32."""
    widths = (4, 8, 8, 16, 16) if options.tiny else (32, 64, 128, 256, 512)
    size = 48 if options.tiny else 192
    batch = (
        torch.randn(8, 4, size, size, device=device),
        (torch.rand(8, 1, size, size, device=device) < 0.02).float(),
    )
    nets = [AGMRNet(widths=widths).to(device) for _ in range(2)]
    steps = {
        "ours": our_step(nets[0], AGMRLoss(), batch),
        "eager": plain_step(nets[1], AGMRLoss(), batch),
    }
    return {"seconds": in_turn(steps, options.repeats, device)}


def main() -> None:
    """Measure and write the results, or report that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="narrow networks, to try the program")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--backend", default="compile", help="of the prediction")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bfloat16")
    parser.add_argument("--only", nargs="+", default=["train", "predict", "agmr"])
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device; run where there is one, or try --device cpu --tiny")
        sys.exit(2)
    if options.device == "cpu" and not options.tiny:
        print("error: --device cpu: measures nothing; add --tiny to try the program")
        sys.exit(2)
    options.widths, options.patch, options.volume, options.heads = WIDTHS, PATCH, VOLUME, 16
    if options.tiny:
        options.widths, options.patch, options.volume = [4, 8, 8], [16] * 3, [16, 16, 24]
        options.heads, options.repeats = 2, 1
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True  # as nnU-Net's trainer and accelerate.yaml do
    parts = {"train": train, "predict": predict, "agmr": agmr}
    measured = {name: parts[name](options, device) for name in options.only}
    comparisons = {}
    if "train" in measured:
        s = measured["train"]["seconds"]
        rows = {
            "training step, U-Net, nnU-Net v2 (AMP, compile)": ("unet", "nnU-Net", "train"),
            "training step, U-Net + MSCSA, nnU-Net v2 (AMP, compile)": (
                "mscsa",
                "nnU-Net",
                "train",
            ),
            "training step, U-Net + MSCSA, our U-Net": ("mscsa", "unet", "mscsa"),
        }
        for what, (ours, peer, goal) in rows.items():
            comparisons[what] = comparison(s[ours], s[peer], GOALS[goal])
    if "predict" in measured:
        s = measured["predict"]["seconds"]
        what = "volume with 8 flips, U-Net, nnU-Net v2's predictor"
        comparisons[what] = comparison(s["ours"], s["nnU-Net"], GOALS["predict"])
    if "agmr" in measured:
        s = measured["agmr"]["seconds"]
        what = "training step, AGMR-Net, eager float32"
        comparisons[what] = comparison(s["ours"], s["eager"], GOALS["agmr"])
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    write(
        "gpu_tiny" if options.tiny else "gpu",
        comparisons,
        device=name,
        tiny=options.tiny,
        measured=measured,
    )


if __name__ == "__main__":
    main()
