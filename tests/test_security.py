"""Nothing is unpickled and nothing executed that a file says, anywhere in the code."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("stroke_nets", "bundles", "benchmarks", "examples", "docs")
SOURCES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
CONFIGS = sorted((ROOT / "bundles").rglob("*.yaml"))
# They run what a file or text says, or make objects that it names.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "dill.load", "joblib.load",
    "pandas.read_pickle", "pd.read_pickle", "torch.hub.load", "logging.config.fileConfig",
}  # fmt: skip
RESTRICTED = {"pickle.Unpickler": {"_PlainUnpickler"}}  # it admits strings and containers only


def problems(text):
    """Calls and base classes that are not allowed."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases} & FORBIDDEN
            yield from (b for b in bases if node.name not in RESTRICTED.get(b, ()))
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN:
            yield name
        if name == "torch.load" and options.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if options.get("allow_pickle", "False") != "False":
            yield f"{name} with allow_pickle"
        if options.get("weights_only", "True") != "True" or options.get("shell") == "True":
            yield f"{name} with {options}"


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(f)",
        "class A(pickle.Unpickler): pass",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f, Loader=yaml.Loader)",
        "eval('1')",
        "subprocess.run('x', shell=True)",
    ],
)
def test_the_search_finds(code):
    assert list(problems(code))


def test_X1_no_file_is_unpickled_or_executed():
    assert len(SOURCES) > 100
    found = {str(file.relative_to(ROOT)): list(problems(file.read_text())) for file in SOURCES}
    assert {file: what for file, what in found.items() if what} == {}


def test_X1_no_configuration_unpickles():
    found = [f for f in CONFIGS if re.search(r"pickle|torch\.load|weights_only", f.read_text())]
    assert found == []


def test_security_floor():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(re.findall(r"^(torch|monai)>=([\d.]+)", "\n".join(project["dependencies"]), re.M))
    assert tuple(map(int, floors["torch"].split("."))) >= (2, 10)  # CVE-2026-24747
    assert tuple(map(int, floors["monai"].split("."))) >= (1, 6)  # GHSA-wvpx-5qmp-46g3
