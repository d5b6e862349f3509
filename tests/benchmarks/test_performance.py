"""What speed rests on, counted: operators, calls and FLOPs, never seconds."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.networks.agmr_net import AGMRNet
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def flops(network, *shape):
    """Of one call at full widths; the meta device computes nothing."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.to("meta").eval()(torch.zeros(shape, device="meta"))
    return counter.get_total_flops()


class Operators(TorchDispatchMode):
    """Counts what PyTorch is asked for."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_mscsa_adds_little_to_the_unet():
    with torch.device("meta"):
        plain, fused = PlainUNet(), PlainUNet(skip_attention=MSCSA())
    tile = (1, 1, 128, 128, 128)
    assert 1.0 < flops(fused, *tile) / flops(plain, *tile) < 1.03


def test_agmr_net_costs_what_it_did():
    with torch.device("meta"):
        network = AGMRNet()
    assert flops(network, 1, 4, 192, 192) == pytest.approx(48.4e9, rel=0.01)  # as measured in 2026


def test_a_sweep_asks_for_few_operators_of_its_own():
    def operators(depth):
        with Operators() as mode:
            PatchInferer((16, 16, 16))(
                torch.rand(1, 1, depth, 16, 16), lambda t: torch.cat([t, -t], 1)
            )
        return sum(mode.counts.values()) - 3 * depth  # each plane is weighted at the end

    two, three = operators(24), operators(32)
    # as counted for another tile of eight flips, the network's 2 included
    assert three - two <= 199


def test_the_gaussian_is_made_once():
    inferer = PatchInferer((8, 8, 8), flips=False)
    with Operators() as mode:
        inferer(torch.rand(1, 1, 16, 16, 16), lambda tile: torch.cat([tile, -tile], 1))
    assert mode.counts["exp"] == 0
    assert mode.counts["new_zeros"] <= 1 + 27 + 3  # the buffer, a sum for each tile, three axes


def test_slices_are_given_in_batches():
    sizes = []
    volume = torch.rand(1, 1, 4, 4, 189)
    SliceStackInferer(16)(volume, lambda s: sizes.append(len(s)) or s[:, 2:3])
    assert sizes == [16] * 11 + [13]


def test_the_page_says_what_was_measured():
    command = [sys.executable, BENCHMARKS / "report.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_gpu_program_says_where_it_runs():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, BENCHMARKS / "gpu.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stderr
    assert "no CUDA device" in done.stdout
