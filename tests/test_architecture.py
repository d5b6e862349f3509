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
        "stroke_nets.datasets",
        "stroke_nets.losses",
        "stroke_nets.training",
    },
    "losses": {"stroke_nets.networks", "stroke_nets.datasets", "stroke_nets.training"},
    "scans": {"torch", "stroke_nets.networks", "stroke_nets.training", "stroke_nets.inference"},
    "datasets": {"torch", "stroke_nets.networks", "stroke_nets.training", "stroke_nets.inference"},
    "evaluation": {"torch", "stroke_nets.networks", "stroke_nets.training"},
    "synthesis": {"stroke_nets.networks", "stroke_nets.training", "stroke_nets.inference"},
    "registration": {"stroke_nets.networks", "stroke_nets.training", "stroke_nets.inference"},
    "pages": {"torch", "monai", "stroke_nets.networks", "stroke_nets.training"},
    ".": {"torchvision", "pytorchcv"},
}
SEES_A_CALLABLE = ("ensemble", "memory_ladder", "slice_stack", "sliding_patch", "backend")
READS_RESULTS = ("tables", "table_files", "figures", "figure_dice", "figure_masks", "figure_stages")


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def violations(file: Path, forbidden: set[str]) -> list[str]:
    """The imports of a file that lead into a forbidden package."""
    found = []
    for name in imports(file):
        parts = name.split(".")
        if {".".join(parts[: i + 1]) for i in range(len(parts))} & forbidden:
            found.append(f"{file} imports {name}")
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    files = sorted((PACKAGE / folder).rglob("*.py"))
    assert files
    assert [one for file in files for one in violations(file, FORBIDDEN[folder])] == []


@pytest.mark.parametrize("name", SEES_A_CALLABLE)
def test_an_inferer_sees_the_network_as_a_callable(name):
    assert violations(PACKAGE / "inference" / f"{name}.py", {"stroke_nets.networks"}) == []


@pytest.mark.parametrize("name", READS_RESULTS)
def test_tables_and_figures_read_result_files_only(name):
    forbidden = {"torch", "monai", "stroke_nets.networks", "stroke_nets.training"}
    assert violations(PACKAGE / "papers" / f"{name}.py", forbidden) == []


def test_networks_do_not_import_each_other():
    for file in (PACKAGE / "networks").glob("*.py"):
        found = {n for n in imports(file) if n.startswith("stroke_nets.networks")}
        assert all(name.startswith("stroke_nets.networks.blocks") for name in found), file


def test_nothing_imports_the_commands():
    own = {PACKAGE / "cli.py", PACKAGE / "__main__.py", *(PACKAGE / "commands").glob("*.py")}
    for file in {*PACKAGE.rglob("*.py")} - own:
        assert violations(file, {"stroke_nets.commands", "stroke_nets.cli"}) == []


def test_package_names_no_bundle():
    for file in PACKAGE.rglob("*.py"):
        assert "bundles/agmr_net" not in file.read_text(), file


def test_bundles_repeat_the_blocks_that_they_name():
    sync = ROOT / "bundles" / "sync.py"
    done = subprocess.run([sys.executable, sync, "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
