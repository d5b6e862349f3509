"""Two simulated hospitals train one network by NVFlare: `make test-federated`, five minutes."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stroke_nets.synthesis import Design, simulate

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".federated-venv" / "bin" / "python"

pytestmark = [
    pytest.mark.federated,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs .federated-venv: make federated"),
]


def test_common_network_is_the_mean_of_the_sites(tmp_path):
    for site in (1, 2):
        simulate(tmp_path / "sites" / f"site-{site}", 4, site, design=Design(plain=True))
    job = [PYTHON, ROOT / "examples" / "federated" / "job.py", tmp_path / "sites", tmp_path / "out"]
    done = subprocess.run(job, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    common = load_file(tmp_path / "out" / "model.safetensors")
    sites = [
        torch.load(file, weights_only=True)["network"]
        for file in tmp_path.glob("out/runs/site-*/round1/checkpoints/last.pt")
    ]
    assert len(sites) == 2
    for name, value in common.items():  # both sites have as many slices; sums in float32
        mean = (sites[0][name].double() + sites[1][name].double()) / 2
        torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-6)
    again = subprocess.run(job, capture_output=True, text=True, check=False)
    assert "is there already" in again.stderr
