import pytest
import torch

from stroke_nets.inference.slice_stack import SliceStackInferer
from stroke_nets.training.slices import slice_stacks


def test_stacks_hold_the_neighbours_and_zeros_outside():
    volume = torch.arange(1.0, 6).expand(2, 3, 5)  # slice i holds i + 1
    stacks = slice_stacks(volume)[:, :, 0, 0]
    # slices i-2, i-1, i, i+1
    assert stacks.tolist() == [
        [0, 0, 1, 2],
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [2, 3, 4, 5],
        [3, 4, 5, 0],
    ]


def test_a_stack_can_be_the_slice_alone():
    volume = torch.rand(1, 1, 2, 3, 5)
    assert torch.equal(SliceStackInferer(offsets=[0])(volume, lambda stacks: stacks), volume)
    around = slice_stacks(torch.arange(1.0, 4).expand(1, 1, 3), (-1, 0, 1))[:, :, 0, 0]
    assert around.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0]]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 2], [1, 0]])
def test_other_offsets_are_refused(offsets):
    with pytest.raises(ValueError, match="consecutive"):
        SliceStackInferer(offsets=offsets)


def test_every_slice_comes_back_in_its_place():
    volume = torch.rand(2, 1, 4, 6, 7)
    found = SliceStackInferer(batch_size=3)(volume, lambda stacks: stacks[:, 2:3] * 2)
    assert torch.equal(found, volume * 2)


def test_empty_stacks_share_one_prediction():
    volume = torch.rand(1, 1, 4, 6, 20)
    volume[..., 5:15] = 0.5
    seen = []

    def network(stacks):
        seen.append(len(stacks))
        return stacks.sum(1, keepdim=True).cos()

    found = SliceStackInferer(batch_size=8)(volume, network)
    assert sum(seen) == 20 - 6  # slices 7 to 13 see nothing but 0.5
    assert torch.equal(found[0, 0], network(slice_stacks(volume[0, 0]))[:, 0].permute(1, 2, 0))
