"""Which way the arrows point: bundles -> stroke_nets -> monai, torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "stroke_nets"
FORBIDDEN = {
    "networks": {
        "monai",
        "ignite",
        "stroke_nets.data",
        "stroke_nets.losses",
        "stroke_nets.engines",
    },
    "losses": {"stroke_nets.networks", "stroke_nets.data", "stroke_nets.engines"},
    "metrics": {"torch", "monai", "stroke_nets.data", "stroke_nets.engines"},
    "inferers": {"stroke_nets.networks"},
    "data": {"torch", "stroke_nets.networks", "stroke_nets.engines"},
    "reporting": {"torch", "monai", "stroke_nets.networks", "stroke_nets.engines"},
    ".": {"torchvision", "pytorchcv"},
}


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        for name in imports(file):
            parts = name.split(".")
            prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
            assert not prefixes & FORBIDDEN[folder], f"{file} imports {name}"


def test_networks_do_not_import_each_other():
    for file in (PACKAGE / "networks").glob("*.py"):
        found = {n for n in imports(file) if n.startswith("stroke_nets.networks")}
        assert all(name.startswith("stroke_nets.networks.blocks") for name in found), file


def test_package_names_no_bundle():
    for file in PACKAGE.rglob("*.py"):
        assert "bundles/agmr_net" not in file.read_text(), file


def test_bundles_hold_the_shared_blocks():
    sync = ROOT / "bundles" / "_shared" / "sync.py"
    done = subprocess.run([sys.executable, sync, "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
