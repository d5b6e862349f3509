"""The processes of one training count as one; two real ones: tests/bundles/test_ranks.py."""

import pytest
import torch
from ignite.engine import Engine
from torch import distributed, nn

from stroke_nets.errors import UsageError
from stroke_nets.training.distributed import join, local_device, parallel
from stroke_nets.training.ranks import FirstRanksStatistics, LossOfAllRanks


@pytest.fixture
def processes(monkeypatch):
    """A function that makes this process one of several, whose tensors it names in call order."""

    def be(rank, *others):
        """``others``: for each gathered tensor, those of all ranks."""
        waiting = iter(others)

        def all_gather(parts, mine):
            gathered = next(waiting)
            assert torch.equal(mine, gathered[rank])
            for part, value in zip(parts, gathered, strict=True):
                part.copy_(value)

        monkeypatch.setattr(distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(distributed, "get_world_size", lambda: len(others[0]))
        monkeypatch.setattr(distributed, "all_gather", all_gather)

    return be


class PooledDice(nn.Module):
    """Of a whole batch and of an extra head: not the mean of its samples' losses."""

    def forward(self, outputs, label):
        logits, (extra,) = outputs
        p = logits.sigmoid()
        return 1 - 2 * (p * label).sum() / (p.sum() + label.sum()) + extra.square().mean()


def test_loss_and_gradients_are_those_of_one_larger_batch(processes):
    torch.manual_seed(0)
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    images = torch.randn(3, 2, 5, 3, dtype=torch.float64).unbind()  # three ranks, batches of two
    labels = torch.randint(0, 2, (3, 2, 5), dtype=torch.float64).unbind()

    def outputs(image):
        return image @ weight, [image @ weight.square()]

    whole = PooledDice()(outputs(torch.cat(images)), torch.cat(labels))
    (wanted,) = torch.autograd.grad(whole, weight)
    parts = [[logits, extra] for logits, (extra,) in map(outputs, images)]
    gathered = [[part.detach() for part in same] for same in zip(*parts, strict=True)]
    gradients = []
    for number in range(3):
        processes(number, *gathered, labels)
        loss = LossOfAllRanks(PooledDice())(outputs(images[number]), labels[number])
        assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
        gradients += torch.autograd.grad(loss, weight)
    torch.testing.assert_close(torch.stack(gradients).mean(0), wanted)  # the mean, as DDP takes it


def test_every_process_validates_with_the_first_ones_statistics(monkeypatch):
    network = nn.BatchNorm1d(2)
    sent = []

    def broadcast(buffer, source):
        sent.append(source)
        buffer.fill_(7)

    monkeypatch.setattr(distributed, "broadcast", broadcast)
    evaluator = Engine(lambda engine, batch: sent.append("batch"))
    FirstRanksStatistics(network).attach(evaluator)
    evaluator.run([0])
    assert sent == [0, 0, 0, "batch"]
    assert all((buffer == 7).all() for buffer in network.buffers())


def test_on_gpus_batch_norm_spans_the_processes(monkeypatch):
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    names = list(network.state_dict())
    monkeypatch.setattr(nn.Module, "to", lambda self, device: self)
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda network, **_: network)
    wrapped = parallel(network, torch.device("cuda", 0))
    assert isinstance(wrapped[1], nn.SyncBatchNorm)
    assert list(wrapped.state_dict()) == names


def test_more_processes_than_gpus_are_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UsageError, match="one process for each GPU; 1 here"):
        local_device()


def test_without_torchrun_there_is_one_line(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match="that torchrun starts"):
        join()
