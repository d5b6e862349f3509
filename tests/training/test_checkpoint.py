"""Rows T1, T2 and T6 to T9: what a checkpoint survives, with a trainer of one weight."""

import multiprocessing
import os
import re
import signal
import zipfile

import pytest
import torch
from ignite.engine import Engine, Events

from stroke_nets.errors import DataError, UsageError
from stroke_nets.runs.interruption import Interrupted
from stroke_nets.training import checkpoint_file
from stroke_nets.training.checkpoint import AtomicCheckpoint, load_weights

from .trainings import assert_same

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


def small(folder, epochs=3, resume=False, at=None, config_hash=""):
    """Fit one weight; ``at`` is called at the end of each batch."""
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        loss = network(batch).square().mean()
        loss.backward()
        optimizer.step()

    trainer = Engine(step)
    trainer.state.best_metric, trainer.state.best_metric_epoch = -1, -1
    trainer.network = network
    parts = {"network": network, "optimizer": optimizer}
    AtomicCheckpoint(str(folder), parts, resume=resume, config_hash=config_hash).attach(trainer)
    if at is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, at)
    data = [torch.ones(2, 4), torch.eye(4)]
    trainer.run(data, max_epochs=epochs)
    return network, optimizer, trainer


@pytest.mark.parametrize("step", range(1, 7))
def test_T1_kill_9_at_any_step_of_a_write(step, tmp_path):
    small(tmp_path, epochs=1)
    whole = checkpoint_file.read(tmp_path / "last.pt")

    def save_and_die():
        calls = iter(range(1, 100))
        for name in ("fsync", "replace"):
            call = getattr(os, name)

            def counted(*args, call=call):
                if next(calls) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                call(*args)

            setattr(os, name, counted)
        checkpoint_file.save(checkpoint_file.epoch_file(tmp_path, 2), {"network": {}})

    process = multiprocessing.get_context("fork").Process(target=save_and_die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_same(checkpoint_file.read(tmp_path / "last.pt"), whole)
    for path in checkpoint_file.newest_first(tmp_path):
        checkpoint_file.read(path)  # whatever has a name is whole
    checkpoint_file.sweep(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_T2_full_disk_keeps_the_old_file_and_says_how_much(full_disk, tmp_path):
    path = checkpoint_file.epoch_file(tmp_path, 1)
    checkpoint_file.save(path, {"weights": torch.zeros(10)})
    before = path.read_bytes()
    message = r"needs 4\.0 MB, [\d.]+ MB are free.*--resume true"
    with full_disk(100_000), pytest.raises(UsageError, match=message):
        checkpoint_file.save(path, {"weights": torch.zeros(1_000_000)})
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_T3_T4_what_is_saved_is_said_and_stays(number, tmp_path):
    def stop(engine):
        if engine.state.iteration == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match=r"last\.pt \(epoch 2\); epoch 3 is done again"):
        small(tmp_path, at=stop)
    assert checkpoint_file.read(tmp_path / "last.pt")["trainer"]["epoch"] == 2
    resumed = small(tmp_path, resume=True)[0]
    assert_same(dict(resumed.state_dict()), dict(small(tmp_path / "other")[0].state_dict()))


def test_checkpoint_of_another_configuration_is_refused(tmp_path):
    small(tmp_path, epochs=1, config_hash="a")
    with pytest.raises(UsageError, match="of another configuration"):
        small(tmp_path, resume=True, config_hash="b")
    assert small(tmp_path, resume=True, config_hash="a")[2].state.epoch == 3


def test_T6_checkpoint_without_optimizer_is_refused(tmp_path):
    network = small(tmp_path / "run", epochs=1)[0]
    torch.save(network.state_dict(), tmp_path / "last.pt")
    with pytest.raises(UsageError, match="holds no network"):
        small(tmp_path, resume=True)
    torch.save({"network": network.state_dict()}, tmp_path / "last.pt")
    with pytest.raises(UsageError, match=r"last\.pt: holds no optimizer, so that training cannot"):
        small(tmp_path, resume=True)
    assert_same(load_weights(tmp_path / "last.pt", network), dict(network.state_dict()))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip, id="T7_bit_flip"),
        pytest.param(lambda path: os.truncate(path, 100), id="T8_truncated"),
        pytest.param(lambda path: os.truncate(path, 0), id="T8_empty"),
    ],
)
def test_T7_T8_damaged_checkpoint_falls_back_to_the_one_before(damage, tmp_path, capsys):
    network = small(tmp_path, epochs=3)[0]
    whole = dict(network.state_dict())
    damage(checkpoint_file.epoch_file(tmp_path, 3))
    with pytest.raises(DataError, match=r"epoch_00003\.pt: damaged \(its sha256"):
        load_weights(tmp_path / "last.pt", network)
    _, _, trainer = small(tmp_path, epochs=3, resume=True)
    said = capsys.readouterr().out
    assert re.search(r"epoch_00003\.pt: damaged .*; falling back to the checkpoint before", said)
    assert "resuming after epoch 2" in said
    assert trainer.state.epoch == 3
    assert_same(load_weights(tmp_path / "last.pt", network), whole)


def test_T7_nothing_whole_is_one_error(tmp_path):
    small(tmp_path, epochs=1)
    flip(checkpoint_file.epoch_file(tmp_path, 1))
    with pytest.raises(DataError, match="none is whole"):
        small(tmp_path, resume=True)


def test_T8_last_epochs_are_kept_and_half_written_files_swept(tmp_path):
    (tmp_path / ".epoch_00009.pt.tmp").write_text("half")
    small(tmp_path, epochs=4)
    names = {path.name for path in tmp_path.iterdir()}
    kept = {"epoch_00003.pt", "epoch_00004.pt"}
    assert names == kept | {f"{name}.sha256" for name in kept} | {"last.pt"}


def test_T9_scaler_is_saved_and_restored(tmp_path):
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def trainer(scaler):
        engine = Engine(lambda engine, batch: None)
        engine.state.best_metric, engine.state.best_metric_epoch = -1, -1
        engine.scaler = scaler
        return engine

    parts = {"network": network, "optimizer": optimizer}
    first = trainer(torch.amp.GradScaler("cpu", init_scale=8.0))
    AtomicCheckpoint(str(tmp_path), parts).attach(first)
    first.run([0], max_epochs=1)
    fresh = torch.amp.GradScaler("cpu", init_scale=2.0)
    second = trainer(fresh)
    AtomicCheckpoint(str(tmp_path), parts, resume=True).attach(second)
    second.run([0], max_epochs=2)
    assert fresh.get_scale() == 8.0


def test_T16_weights_that_are_not_finite_are_not_saved(tmp_path):
    def spoil(engine):
        if engine.state.iteration == 4:
            torch.nn.init.constant_(engine.network.weight, float("inf"))

    with pytest.raises(DataError, match="checkpoint of epoch 2: not saved, for weight"):
        small(tmp_path, at=spoil)
    assert checkpoint_file.read(tmp_path / "last.pt")["trainer"]["epoch"] == 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda weight: weight * torch.nan, "weight holds NaN or infinite numbers"),
        (lambda weight: weight / 0, "weight holds NaN or infinite numbers"),
        (lambda weight: weight.long(), "weight holds int64 numbers"),
        (lambda weight: weight.to(torch.complex64), "weight holds complex64 numbers"),
        (
            lambda weight: weight[:, :1].clone().expand_as(weight),
            "weight holds fewer numbers than it announces",
        ),
        (
            lambda weight: weight.to_sparse(),
            "weight holds a tensor that is sparse, quantized or empty",
        ),
        (
            lambda weight: weight.to("meta"),
            "weight holds a tensor that is sparse, quantized or empty",
        ),
    ],
)
def test_weights_of_no_sound_training_are_refused(damage, says, tmp_path):
    network = torch.nn.Linear(4, 1)
    state = dict(network.state_dict())
    state["weight"] = damage(state["weight"])
    torch.save({"network": state}, tmp_path / "last.pt")
    with pytest.raises(DataError, match=rf"last\.pt: {says}; give one") as error:
        load_weights(tmp_path / "last.pt", network)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "saved",
    [3, [1], {"network": [1]}, {"network": 3}, {"network_weights": 3}, {"network": {1: 2}}, "text"],
)
def test_a_checkpoint_of_other_content_is_refused_in_one_line(saved, tmp_path):
    torch.save(saved, tmp_path / "last.pt")
    with pytest.raises(DataError, match=r"last\.pt: holds no weights; give one") as error:
        load_weights(tmp_path / "last.pt", torch.nn.Linear(4, 1))
    assert "\n" not in str(error.value)


def test_X1_a_checkpoint_that_grows_when_it_is_read_is_refused(tmp_path):
    whole, grown = tmp_path / "whole.pt", tmp_path / "grown.pt"
    torch.save({"network": {"weight": torch.zeros(1000)}}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(grown, "w", zipfile.ZIP_DEFLATED) as to:
        for entry in source.namelist():
            to.writestr(entry, source.read(entry))
    assert checkpoint_file.read(whole)["network"]["weight"].shape == (1000,)
    with pytest.raises(DataError, match=r"grown\.pt: cannot be read"):
        checkpoint_file.read(grown)


def test_X1_a_checksum_that_is_no_text_is_one_line(tmp_path):
    torch.save({}, tmp_path / "a.pt")
    (tmp_path / "a.pt.sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="damaged"):
        checkpoint_file.read(tmp_path / "a.pt")
