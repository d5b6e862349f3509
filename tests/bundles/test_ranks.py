"""Many devices: `multi_gpu_train.yaml` in two CPU processes under torchrun."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DistributedSampler

from stroke_nets.bundle_folders import bundle_names, bundles_root
from stroke_nets.training.randomness import seed_process

ROOT = bundles_root()
TRAINED = [n for n in bundle_names() if (ROOT / n / "configs" / "train.yaml").is_file()]
SLICES = {"size": 48, "num_workers": 0, "val_interval": 1}
PATCHES = {"patch_size": [16, 16, 16], "supervision": [2, 1], "train_batches": 2, "val_batches": 2}
pytestmark = [
    pytest.mark.filterwarnings("default"),  # MONAI and Ignite warn about their own calls
    pytest.mark.ranks,
]


def files(bundle):
    configs = ROOT / bundle / "configs"
    return [str(configs / name) for name in ("train.yaml", "multi_gpu_train.yaml")]


def tiny(bundle, narrow, data, out):
    """Overrides that train a bundle in a moment."""
    sizes, shape = narrow(bundle)
    options = {"dataset_dir": str(data), "manifest": str(data / "manifest.json")}
    options |= {"output_dir": str(out / bundle), "max_epochs": 1}
    options |= {"cache_dir": str(out / "cache"), "batch_size": 2, **SLICES, **sizes}
    if len(shape) == 5:
        del options["size"]
        options |= PATCHES
    return options


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(*arguments):
    """Start two processes; their output is read by the caller."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"}
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture
def alone(monkeypatch):
    """The environment of a process that torchrun has started alone."""
    for key, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))


def curves(folder):
    """What a run's first process logged, by name."""
    events = EventAccumulator(str(folder / "events"))
    events.Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


AS_ONE = {  # without batch norm, which on the CPU is each process's own
    "unet": {"network_def#norm": "instance", "optimizer#_target_": "torch.optim.SGD"},
    "resenc_unet": {"flips": False},
}


@pytest.fixture(scope="module")
def results(narrow, simulated, tmp_path_factory):
    """Every bundle trained in one pair of processes: its folders, and what they printed."""
    out = tmp_path_factory.mktemp("ranks")
    jobs = {name: (name, tiny(name, narrow, simulated, out)) for name in TRAINED}
    for bundle, changes in AS_ONE.items():
        options = jobs[bundle][1] | changes | {"max_epochs": 2, "learning_rate": 0.01}
        jobs[f"{bundle}_as_one"] = bundle, options | {"output_dir": str(out / f"{bundle}_as_one")}
    listed = [
        {"name": name, "files": files(bundle), "port": free_port(), "options": options}
        for name, (bundle, options) in jobs.items()
    ]
    (out / "jobs.json").write_text(json.dumps(listed))
    process = torchrun(Path(__file__).with_name("train_each.py"), out / "jobs.json", out)
    printed, err = process.communicate()
    assert process.returncode == 0, err
    return out, printed, {name: options for name, (_, options) in jobs.items()}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("bundle", AS_ONE)
def test_two_processes_train_as_one_with_twice_the_batch(bundle, workflow, results, tmp_path):
    out, printed, options = results
    folders = [tmp_path / "one", out / f"{bundle}_as_one"]
    larger = options[folders[1].name] | {"batch_size": 4, "output_dir": str(folders[0])}
    one = workflow(bundle, "train", "multi_gpu_train", kind="train", **larger)
    assert one.check_properties() == []
    one.run()
    one.finalize()
    assert printed.count(f"saved {folders[1]}/") == 1
    found, wanted = curves(folders[1]), curves(folders[0])
    assert found.keys() == wanted.keys()
    assert len(wanted["train_loss"]) > 3
    assert abs(wanted["train_loss"][-1] - wanted["train_loss"][0]) > 1e-2  # it learns
    for tag, values in wanted.items():
        # Float32 sums in another order, a few steps long; Dice counts voxels, and one whose logit
        # is nearly 0 may fall on either side.
        atol = 1e-4 if tag.endswith("dice") else 1e-5
        np.testing.assert_allclose(found[tag], values, rtol=1e-4, atol=atol, err_msg=tag)
    names = [sorted(p.name for p in f.glob("checkpoints/*")) for f in folders]
    assert names[0] == names[1]
    saved = [torch.load(f / "checkpoints" / "last.pt", weights_only=True) for f in folders]
    for name, weights in saved[0]["network"].items():
        # Normalising tiny, nearly constant maps magnifies rounding: random changes of 1e-7 in the
        # initial weights of `unet` move its last ones by 7e-4 in these steps.
        torch.testing.assert_close(saved[1]["network"][name], weights, rtol=1e-3, atol=2e-3)


@pytest.mark.usefixtures("alone")
def test_T21_each_rank_draws_its_own_patches_and_one_process_both(
    narrow, bundle_config, simulated, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    options = tiny("mscsa_default", narrow, simulated, tmp_path)
    parser = bundle_config("mscsa_default", "train", "multi_gpu_train", **options)
    sampler = {"num_replicas": 2, "_target_": "torch.utils.data.DistributedSampler"}
    drawn = []
    for rank in range(2):
        for key, value in (sampler | {"rank": rank}).items():
            parser[f"train#dataloader#sampler#{key}"] = value
        loader = parser.get_parsed_content("train#dataloader")
        drawn.append([image for batch in loader for image in batch["image"]])
    assert len(drawn[0]) == len(drawn[1]) == 4  # two batches of two
    every = [image for pair in zip(*drawn, strict=True) for image in pair]
    whole = parser.get_parsed_content("train#dataset")
    assert all(torch.equal(a, whole[k]["image"]) for k, a in enumerate(every))
    assert not any(torch.equal(a, b) for i, a in enumerate(every) for b in every[:i])


@pytest.mark.usefixtures("alone")
def test_T21_ranks_share_the_slices_and_differ_in_their_random_numbers(
    narrow, bundle_config, simulated, tmp_path, monkeypatch
):
    options = tiny("agmr_net", narrow, simulated, tmp_path)
    parser = bundle_config("agmr_net", "train", "multi_gpu_train", **options)
    dataset = parser.get_parsed_content("train#dataset")
    shares = [set(DistributedSampler(dataset, 2, rank)) for rank in range(2)]
    assert shares[0] | shares[1] == set(range(len(dataset)))
    assert not shares[0] & shares[1]
    numbers = []  # dropout draws from these
    for rank in range(2):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        seed_process(parser["seed"])
        numbers.append(torch.rand(8))
    assert not torch.equal(*numbers)


def children(pid):
    """A process's children by their rank."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {v: int(child) for v in variables if v.startswith(b"RANK=")}
    return found


def test_T20_a_killed_rank_ends_all_and_is_named(narrow, simulated, tmp_path):
    options = tiny("unet", narrow, simulated, tmp_path) | {"max_epochs": 1000}
    options |= {"bundle_root": ROOT / "unet", "config_file": files("unet")}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    process = torchrun("-m", "monai.bundle", "run", "training", *words)
    guard = threading.Timer(500, process.kill)  # a fault must not hang the suite
    guard.start()
    line = "."
    while line and not line.startswith("epoch 1/"):
        line = process.stdout.readline()
    ranks = children(process.pid)
    os.kill(ranks[b"RANK=1"], signal.SIGKILL)
    _, err = process.communicate()
    guard.cancel()
    assert process.returncode not in (0, -signal.SIGKILL)
    assert "Signal 9 (SIGKILL) received by PID" in err
    assert f"pid: {ranks[b'RANK=1']}" in err
    for pid in ranks.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("bundle", TRAINED)
def test_two_processes_end_with_equal_weights(bundle, results, record_outcome):
    record_outcome(bundle, "two_process")
    out = results[0]
    first, second = (json.loads((out / f"{bundle}.{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert math.isfinite(first["loss"])
    saved = torch.load(out / bundle / "checkpoints" / "last.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in saved["network"])


def test_what_is_not_trained_has_no_overlay_for_many_devices(record_outcome):
    for bundle in set(bundle_names()) - set(TRAINED):
        record_outcome(bundle, "two_process", "it is not trained: its members are")
        assert not Path(files(bundle)[1]).exists()
