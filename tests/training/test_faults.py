"""Rows T of the faults that a training must survive, but those of caches and many devices.

Two real bundles, tiny: `d_unet` for stacks of slices, `mscsa_default` for patches.
"""

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import create_workflow
from torch.utils.data import DataLoader, Dataset

from stroke_nets.errors import DataError, UsageError
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.runs.interruption import Interrupted
from stroke_nets.training import checkpoint_file
from stroke_nets.training.checkpoint import AtomicCheckpoint, load_weights
from stroke_nets.training.randomness import random_state, set_random_state

BUNDLES = Path(__file__).parents[2] / "bundles"
EPOCHS = 3
PROTOCOLS = {
    "slices": ("d_unet", {"widths": [4, 8, 8, 8, 16], "size": 48, "batch_size": 8}),
    "patches": (
        "mscsa_default",
        {"widths": [4, 8, 8], "patch_size": [16, 16, 16], "supervision": [2, 1], "heads": 2}
        | {"train_batches": 3, "val_batches": 1},
    ),
}

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


@pytest.fixture(autouse=True)
def signals():
    """A training takes SIGTERM and Ctrl-C over; the tests after it get them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def options(protocol, data, cache, folder, **more):
    where = {"dataset_dir": str(data), "cache_dir": str(cache), "output_dir": str(folder)}
    tiny = {"max_epochs": EPOCHS, "val_interval": 1, "num_workers": 0}
    return PROTOCOLS[protocol][1] | where | tiny | more


def config(protocol):
    return str(BUNDLES / PROTOCOLS[protocol][0] / "configs" / "train.yaml")


def training(protocol, *args, **more):
    """An initialised workflow and its trainer."""
    given = options(protocol, *args, **more)
    flow = ConfigWorkflow(config(protocol), workflow_type="train", logging_file=False, **given)
    flow.initialize()
    return flow, flow.parser.get_parsed_content("train#trainer")


def killed_at(trainer, iteration):
    """Raise at the end of a batch, in the middle of whatever the epoch still had to do."""

    def kill(engine):
        if engine.state.iteration == iteration:
            raise Interrupted(signal.SIGTERM, "the test")

    trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)


def last(folder):
    return checkpoint_file.read(folder / "checkpoints" / "last.pt")


def assert_same(one, other):
    """Every tensor to the last bit, and every number, whatever they lie in."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


def assert_same_training(one, other):
    for part in ("network", "optimizer", "lr_scheduler", "trainer", "evaluator", "random"):
        assert_same(one[part], other[part])


@pytest.fixture(scope="module")
def undisturbed(simulated, cache, tmp_path_factory):
    """What a training of each protocol ends with that nothing interrupts."""
    ends = {}
    for protocol in PROTOCOLS:
        folder = tmp_path_factory.mktemp(protocol)
        training(protocol, simulated, cache, folder)[0].run()
        ends[protocol] = last(folder)
    return ends


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("workers", "kills"), [(0, (2, 4, 9)), (2, (5,))])
def test_T5_resumed_training_is_the_undisturbed_one(
    protocol, workers, kills, simulated, cache, undisturbed, tmp_path, capsys
):
    for kill in kills:
        where = (protocol, simulated, cache, tmp_path)
        flow, trainer = training(*where, num_workers=workers, resume=True)
        killed_at(trainer, kill)
        with pytest.raises(Interrupted):
            flow.run()
    training(protocol, simulated, cache, tmp_path, num_workers=workers, resume=True)[0].run()
    assert "resuming after epoch" in capsys.readouterr().out
    assert_same_training(last(tmp_path), undisturbed[protocol])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_T5_after_kill_9_of_the_process(protocol, simulated, cache, undisturbed, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", config(protocol), "--resume", "true"]
    given = options(protocol, simulated, cache, tmp_path, num_workers=2)
    command += [word for key, value in given.items() for word in (f"--{key}", str(value))]
    log = tmp_path / "log"
    with open(log, "w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        while process.poll() is None and not list(tmp_path.glob("checkpoints/epoch_*.pt")):
            time.sleep(0.05)
        time.sleep(float(np.random.default_rng().uniform(0, 0.5)))
        process.kill()
        process.wait()
    assert "no checkpoint to resume from" in log.read_text()
    training(protocol, simulated, cache, tmp_path, num_workers=2, resume=True)[0].run()
    assert_same_training(last(tmp_path), undisturbed[protocol])


def test_T5_other_options_are_refused_and_named(simulated, cache, tmp_path):
    where = ("slices", simulated, cache, tmp_path)
    flow, trainer = training(*where)
    killed_at(trainer, 4)
    with pytest.raises(Interrupted):
        flow.run()
    with pytest.raises(RuntimeError) as raised:
        training(*where, resume=True, learning_rate=0.5, val_interval=2)
    assert "another learning_rate (config.yaml" in str(find_error(raised.value))
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(RuntimeError) as raised:
        training(*where, resume=True)
    assert "network_def" in str(find_error(raised.value))


def test_T5_polynomial_schedule_fixes_the_number_of_epochs(simulated, cache, tmp_path):
    flow, trainer = training("patches", simulated, cache, tmp_path)
    killed_at(trainer, 4)
    with pytest.raises(Interrupted):
        flow.run()
    with pytest.raises(RuntimeError) as raised:
        training("patches", simulated, cache, tmp_path, resume=True, max_epochs=9)
    assert "another max_epochs" in str(find_error(raised.value))


# ---- a small trainer, for what needs no bundle


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


def test_T2_full_disk_keeps_the_old_file_and_says_how_much(tmp_path):
    path = checkpoint_file.epoch_file(tmp_path, 1)
    checkpoint_file.save(path, {"weights": torch.zeros(10)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a disk that fills up
    try:
        with pytest.raises(UsageError, match=r"needs 4\.0 MB, [\d.]+ MB are free.*--resume true"):
            checkpoint_file.save(path, {"weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


SIGNALLED = """
import os, signal, sys
from stroke_nets.runs.exit_codes import one_line_errors
from stroke_nets.runs.interruption import stop_on_signals
one_line_errors()
stop_on_signals(lambda: "last.pt (epoch 7)")
os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 75, id="T3_SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="T4_Ctrl_C"),
    ],
)
def test_T3_T4_exit_codes(number, code):
    command = [sys.executable, "-c", SIGNALLED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == f"error: stopped by {number.name}: last.pt (epoch 7)\n"


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


class Faulty(Dataset):
    """One item, whose reading goes wrong as ``fault`` says."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.fault()


def test_T10_killed_worker_says_what_to_change():
    def fault():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError) as raised:
        next(iter(DataLoader(Faulty(fault), num_workers=1)))
    found = find_error(raised.value)
    assert isinstance(found, UsageError)
    assert "memory" in str(found)
    assert "--num_workers 0" in str(found)


def test_T10_out_of_memory_says_what_to_change():
    found = find_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"))
    assert "out of GPU memory; take a smaller --batch_size" in str(found)
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert "out of memory (RAM); take a smaller --batch_size" in str(find_error(raised.value))


@pytest.mark.parametrize("wrapped", [False, True])
def test_T11_bad_file_inside_a_worker_is_named_in_one_line(wrapped):
    def fault():
        try:
            raise DataError("sub-1_T1w.nii.gz: cut short; copy it again")
        except DataError as error:
            if not wrapped:
                raise
            raise RuntimeError("applying transform") from error

    with pytest.raises(Exception, match="DataLoader worker") as raised:
        next(iter(DataLoader(Faulty(fault), num_workers=1)))
    error = raised.value
    found = find_error(RuntimeError(str(error)) if wrapped else error)
    assert str(found) == "sub-1_T1w.nii.gz: cut short; copy it again"
    assert found.exit_code == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_T16_nan_loss_stops_and_names_the_cases(protocol, simulated, cache, tmp_path):
    flow, trainer = training(protocol, simulated, cache, tmp_path)
    loss = trainer.loss_function
    done = iter(range(100))
    trainer.loss_function = lambda *x: loss(*x) * (float("nan") if next(done) == 4 else 1)
    with pytest.raises(RuntimeError) as raised:
        flow.run()
    found = find_error(raised.value)
    assert isinstance(found, DataError)
    assert re.match(r"sub-\d/anat/sub-\d_T1w.nii.gz.*: the loss is nan in epoch 2;", str(found))
    assert last(tmp_path)["trainer"]["epoch"] == 1


def test_T16_weights_that_are_not_finite_are_not_saved(tmp_path):
    def spoil(engine):
        if engine.state.iteration == 4:
            torch.nn.init.constant_(engine.network.weight, float("inf"))

    with pytest.raises(DataError, match="checkpoint of epoch 2: not saved, for weight"):
        small(tmp_path, at=spoil)
    assert checkpoint_file.read(tmp_path / "last.pt")["trainer"]["epoch"] == 1


HOLD = """
import fcntl, sys, time
stream = open(sys.argv[1], "a+")
fcntl.lockf(stream, fcntl.LOCK_EX)
stream.write("process 7 on a machine")
stream.flush()
print("held", flush=True)
time.sleep(600)
"""


def test_T17_second_run_into_one_folder_is_refused(simulated, cache, tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError) as raised:
            training("slices", simulated, cache, tmp_path)
        other.kill()
    found = str(find_error(raised.value))
    assert "another training runs there (process 7 on a machine)" in found
    training("slices", simulated, cache, tmp_path)  # the lock went with its process


def command_line(file, **given):
    """What ``python -m monai.bundle run`` does before it runs, in this process."""
    path = str(BUNDLES / "d_unet" / "configs" / file)
    return create_workflow(config_file=path, logging_file=False, **given)


def error_line(file, **given):
    with pytest.raises(RuntimeError) as raised:
        command_line(file, **given)
    found = find_error(raised.value)
    assert isinstance(found, UsageError), raised.value
    return str(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_T18_cuda_without_a_gpu_is_one_line(file, simulated):
    found = error_line(file, dataset_dir=str(simulated), device="cuda")
    assert found == "device cuda: PyTorch sees 0 GPUs here; say --device cpu"


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml", "evaluate.yaml"])
def test_T19_mistyped_option_is_refused(file, simulated):
    found = error_line(file, dataset_dri=str(simulated))
    assert found.startswith(
        "--dataset_dri: no such option of this bundle; did you mean dataset_dir?"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_epoch": 1}, "did you mean max_epochs?"),
        ({"train#trianer": 1}, "did you mean trainer?"),
        ({"overwrite": "maybe"}, "--overwrite maybe: give true or false"),
        ({"max_epochs": "many"}, "--max_epochs many: give a number, as 150"),
        ({"max_epochs": True}, "give a number"),
        ({"widths": "4,8"}, "--widths 4,8: give a list, as '[32, 64"),
        ({"train#trainer#max_epochs": 1, "fold": "one"}, "--fold one: give a number, as 0"),
    ],
)
def test_T19_wrong_options_are_refused(option, said):
    assert said in error_line("train.yaml", **option)


def test_T19_a_mistyped_section_is_refused_by_monai():
    with pytest.raises(KeyError) as raised:
        command_line("train.yaml", **{"trian#trainer#max_epochs": 1})
    assert "did you mean 'train'?" in str(raised.value.__cause__)


def test_T19_words_become_what_they_say(simulated, cache, tmp_path):
    given = options("slices", simulated, cache, tmp_path, overwrite="false", amp="FALSE")
    given |= {"manifest": "null", "bundle_root": "x", "train#trainer#max_epochs": 1}
    parser = command_line("train.yaml", **given).parser
    assert [parser[key] for key in ("overwrite", "amp", "manifest")] == [False, False, None]
    assert parser.get_parsed_content("train#trainer").state.max_epochs == 1


def test_random_state_comes_back():
    state = random_state()
    drawn = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    set_random_state(state)
    assert torch.equal(drawn[0], torch.rand(3))
    np.testing.assert_array_equal(drawn[1], np.random.rand(3))  # noqa: NPY002
