"""What tests share: simulated patients, bundles' workflows, processes, and a disk that is full."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from stroke_nets import synthesis as simulate
from stroke_nets.bundle_folders import find_bundle
from stroke_nets.datasets.from_folder import from_folder

PLAIN = simulate.Design(plain=True)  # quick to make, brain only
OUTCOMES = Path(__file__).parents[1] / "docs" / "monai_outcomes.json"
STEP = (4, 4, 16)  # keeps every 4th, 4th and 16th voxel: 50 x 59 x 12 voxels of 4 x 4 x 16 mm


TINY = {  # size is divisible by 6 (CPA's grid) and 16 (four poolings)
    "agmr_net": {"widths": [4, 8, 8, 8, 16], "size": 48, "batch_size": 4},
    "mscsa_default": {"widths": [4, 4, 8, 8, 8], "heads": 2, "patch_size": [16, 32, 32]},
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """Four simulated patients as BIDS, with a manifest of two folds; made once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "simulated"
    with open(shared / "simulated.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "manifest.json").is_file():
            simulate_thinned(root)
    return root


def simulate_thinned(root):
    affine = simulate.template().affine @ np.diag([*STEP, 1])
    thin = tuple(slice(None, None, step) for step in STEP)
    for index in range(1, 5):
        folder = root / f"sub-{index}" / "anat"
        folder.mkdir(parents=True)
        patient = simulate.simulate_patient(0, index, PLAIN)
        for name, voxels in zip(("T1w", "mask"), patient, strict=True):
            nib.save(nib.Nifti1Image(voxels[thin], affine), folder / f"sub-{index}_{name}.nii.gz")
    from_folder(
        root, image="**/*_T1w.nii.gz", label="_mask.nii.gz", out=root / "manifest.json", folds=2
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint in a run folder for each of two tiny methods with random weights."""
    files = {}
    for name, settings in TINY.items():
        run = tmp_path_factory.mktemp(name)
        config = ConfigParser.load_config_files([find_bundle(name) / "configs" / "inference.yaml"])
        parser = ConfigParser(config | settings)
        torch.manual_seed(0)
        network = parser.get_parsed_content("network_def")
        files[name] = run / "checkpoints" / "last.pt"
        files[name].parent.mkdir()
        torch.save({"network": network.state_dict()}, files[name])
        about = {"bundle": name, "overlay": "default", "dataset_dir": "/nowhere", **settings}
        (run / "config.yaml").write_text(yaml.safe_dump(about))
    return files


@pytest.fixture(scope="session")
def volume_cache(tmp_path_factory):
    """A ``cache_dir`` for all trainings of a worker: the same volumes are decoded once."""
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="session")
def bundle_config():
    """A function: the parser of a bundle's configuration files, with settings over them."""
    from monai.bundle import ConfigParser

    def parse(bundle, *names, **settings):
        parser = ConfigParser()
        parser.read_config(
            [str(find_bundle(bundle) / "configs" / f"{name}.yaml") for name in names]
        )
        parser.update(settings)
        return parser

    return parse


@pytest.fixture(scope="session")
def workflow():
    """A function: an initialised workflow of a bundle's configuration files, in this process."""
    from monai.bundle import ConfigWorkflow

    def start(bundle, *names, kind=None, **options):
        files = [str(find_bundle(bundle) / "configs" / f"{name}.yaml") for name in names]
        flow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **options)
        flow.initialize()
        return flow

    return start


@pytest.fixture(autouse=True, scope="session")
def eager(tmp_path_factory):
    """By default PyTorch runs networks in float32: what ``auto`` takes depends on the machine."""
    import torch

    from stroke_nets.inference import backend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "fastest", lambda device: "torch")
        patch.setattr(torch.cpu, "get_capabilities", dict)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


class Processes:
    """Commands in processes of their own, one after another, that share their imports: `forks.py`.

    Args:
        folder: for what they print.
    """

    def __init__(self, folder):
        self.streams = {name: folder / name for name in ("out", "err")}
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def start(self, *command, **environment):
        """Begin ``-m MODULE ...`` or ``-c CODE ...``; returns the process's id."""
        self.command = list(map(str, command))
        job = {"command": self.command, "environment": os.environ | environment}
        job |= {"folder": os.getcwd(), **{name: str(file) for name, file in self.streams.items()}}
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    @staticmethod
    def runs(pid):
        """Whether a process has not ended."""
        return Path(f"/proc/{pid}").exists()

    def wait(self):
        """The end of what was begun, as `subprocess.run` returns it."""
        code = int(self.server.stdout.readline())
        printed = [self.streams[name].read_text() for name in ("out", "err")]
        return subprocess.CompletedProcess(self.command, code, *printed)

    def run(self, *command, **environment):
        """Begin a command and wait for its end."""
        self.start(*command, **environment)
        return self.wait()


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Runs commands as a user does; see `Processes`."""
    processes = Processes(tmp_path_factory.mktemp("processes"))
    with processes.server:  # which closes its input: that ends it
        yield processes


@pytest.fixture(autouse=True)
def signals():
    """A training takes SIGTERM and Ctrl-C over; the tests after it get them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def full_disk():
    """A block in which no file can grow beyond some bytes, as on a disk that fills up."""

    @contextlib.contextmanager
    def limited(size):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited


def pytest_addoption(parser):
    parser.addoption(
        "--record-outcomes", action="store_true", help="write the cells of docs/monai.md's table"
    )


@pytest.fixture
def record_outcome(request):
    """This test speaks for a cell of the table in docs/monai.md: `record(bundle, column)`.

    Call it before what may fail. A test that shows why there is no tick gives the `reason`.
    Written with `--record-outcomes` only; columns and the page: docs/monai_table.py.
    """

    def record(bundle, column, reason="passed"):
        request.node.user_properties.append(("monai_cell", (bundle, column, reason)))

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    cells = [value for name, value in item.user_properties if name == "monai_cell"]
    if cells and call.when == "call" and item.config.getoption("--record-outcomes"):
        outcomes = json.loads(OUTCOMES.read_text())
        for bundle, column, reason in cells:
            cell = {"outcome": reason if report.passed else "failed", "test": item.nodeid}
            outcomes.setdefault(bundle, {})[column] = cell
        OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    return report
