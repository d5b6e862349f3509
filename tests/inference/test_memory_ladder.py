import logging

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from stroke_nets.inference.ensemble import EnsembleInferer
from stroke_nets.inference.memory_ladder import MemoryLadder, with_memory_ladder
from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.networks.ensemble import Ensemble

VOLUME = torch.rand(1, 1, 4, 4, 9, generator=torch.Generator().manual_seed(0))
STEPS = ["batches of 4", "batches of 2", "batches of 1", "stitching on the CPU", "the CPU"]


class Small(nn.Module):
    """Doubles slice i; out of memory for more than ``most`` slices, or so many sweeps."""

    def __init__(self, most=99, sweeps=0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.most, self.sweeps, self.moved = most, sweeps, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        if self.sweeps:
            self.sweeps -= 1
            raise torch.OutOfMemoryError("out of memory")
        return x[:, 2:3] * self.weight

    def cpu(self):
        self.moved.append("cpu")
        return super().cpu()

    def to(self, device):
        self.moved.append(str(device))
        return super().to(device)


@pytest.mark.parametrize(("most", "step"), [(8, ""), (4, STEPS[0]), (3, STEPS[1]), (1, STEPS[2])])
def test_I1_smaller_batches_give_the_same(most, step, caplog):
    ladder = MemoryLadder(SliceStackInferer(batch_size=8))
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        swept = ladder(VOLUME, Small(most))
    assert torch.equal(swept, VOLUME * 2)
    assert ladder.taken == step
    taken = STEPS[: STEPS.index(step) + 1] if step else []
    assert caplog.messages == [f"out of memory on cpu: trying {name}" for name in taken]
    assert ladder.inferer.batch_size == 8  # the next volume starts at the top


@pytest.mark.parametrize(("sweeps", "moved"), [(4, []), (5, ["cpu", "cpu"])])
def test_I1_then_the_cpu(sweeps, moved):
    network = Small(sweeps=sweeps)
    ladder = MemoryLadder(SliceStackInferer(batch_size=8))
    with torch.no_grad():
        swept = ladder(MetaTensor(VOLUME, affine=torch.eye(4) * 2), network)
    assert torch.equal(swept.as_tensor(), VOLUME * 2)
    assert torch.equal(swept.affine, torch.eye(4, dtype=torch.float64) * 2)
    assert ladder.taken == STEPS[sweeps - 1]
    assert network.moved == moved  # to the CPU, and back to where the volume was


def test_I1_in_the_end_the_error_is_raised():
    with pytest.raises(torch.OutOfMemoryError):
        MemoryLadder(SliceStackInferer(batch_size=8))(VOLUME, Small(most=0))
    calls = []

    def network(x):
        calls.append(len(x))
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        MemoryLadder(SliceStackInferer(batch_size=2))(VOLUME, network)
    assert calls == [2, 1, 1]  # no module, so it cannot be moved


def test_other_errors_pass():
    def network(x):
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        MemoryLadder(SliceStackInferer())(VOLUME, network)


def test_patches_and_ensembles_are_on_the_ladder():
    class Logits(Small):
        def forward(self, x):
            x = super().forward(x.expand(-1, 3, -1, -1, -1))
            return torch.cat([x, -x], 1)

    plain = PatchInferer((4, 4, 4), flips=False)
    with torch.no_grad():
        expected = plain(VOLUME, Logits())
        ladder = with_memory_ladder(PatchInferer((4, 4, 4), flips=False))
        swept = ladder(VOLUME, Logits(sweeps=1))
        members = with_memory_ladder(EnsembleInferer(PatchInferer((4, 4, 4), flips=False)))
        both = members(VOLUME, Ensemble([lambda: Logits(sweeps=1), Logits]))
    assert torch.equal(swept, expected)
    assert torch.equal(both, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_I1_a_gpu_whose_memory_does_not_suffice():
    free = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(64e6 / free)
    network = nn.Conv2d(4, 64, 3, padding=1).cuda()
    head = nn.Sequential(network, nn.Conv2d(64, 1, 1).cuda())
    volume = torch.rand(1, 1, 192, 192, 64, device="cuda")
    ladder = MemoryLadder(SliceStackInferer(batch_size=64))
    with torch.no_grad():
        swept = ladder(volume, head)
        expected = SliceStackInferer(batch_size=1)(volume.cpu(), head.cpu())
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert ladder.taken.startswith(("batches of", "stitching", "the CPU"))
    torch.testing.assert_close(swept.cpu(), expected, atol=1e-3, rtol=0)  # TF32 convolutions
