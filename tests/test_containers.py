"""The Dockerfile and the Apptainer definition: both install the wheel with the pinned packages."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "stroke-nets.def").read_text()


def steps(text):
    """The commands that install, without comments and line breaks, up to the packages they name."""
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    text = text.replace("${TORCH_INDEX}", "{{ TORCH_INDEX }}").replace("/opt/build/bin/pip", "pip")
    return [" ".join(one.split()) for one in re.findall(r"pip (?:install|wheel) [^&\n]+", text)]


def test_both_install_the_same_from_the_wheel():
    assert steps(DOCKERFILE) == steps(DEFINITION)
    built, torch, package, peer = steps(DOCKERFILE)
    assert built.endswith("--no-deps --wheel-dir /wheel /source")
    assert torch.startswith(
        "pip install --no-cache-dir \"$(grep '^torch==' /wheel/constraints.txt)"
    )
    assert package.endswith('"$(echo /wheel/*.whl)[dicom,fast,metaimage,train]"')
    for one in (package, peer):
        assert "--constraint /wheel/constraints.txt" in one


def test_no_source_is_in_the_final_stage():
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "COPY" not in final
    assert "--mount=type=bind,from=wheel" in final  # the wheel leaves no layer
    final = DEFINITION[DEFINITION.index("Stage: final") :]
    assert re.findall(r"^%files.*\n(.*)", final, re.MULTILINE) == ["    /wheel /wheel"]
    assert "rm -r /wheel" in final


def excluded(path, pattern):
    """As Docker reads a line of .dockerignore that excludes files."""
    parts = [".*/" if part == "**" else re.escape(part) + "/" for part in pattern.split("/")]
    parts = [part.replace(r"\*", "[^/]*") for part in parts]
    regex = "".join(parts).replace(".*/", "(?:.*/)?")
    return re.match(regex, f"{path}/") is not None


def test_every_file_of_the_package_reaches_the_build():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    taken = [line[1:] for line in lines if line.startswith("!")]
    left_out = [line for line in lines if line and line[0] not in "#!" and line != "*"]
    listed = ["git", "ls-files", "stroke_nets", "bundles", "data_manifests", "pyproject.toml"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for path in files.stdout.splitlines():
        assert any(path == one or path.startswith(f"{one}/") for one in taken), path
        assert not any(excluded(path, pattern) for pattern in left_out), path
    copied = re.findall(r"^    (\S+) /source/\1$", DEFINITION, re.MULTILINE)
    assert sorted(copied) == sorted(taken)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("stroke_nets/runs/start.py", "**/runs", True),  # once the whole package was left out
        ("stroke_nets/runs/start.py", "bundles/*/runs", False),
        ("bundles/unet/runs/fold0/x.pt", "bundles/*/runs", True),
        ("stroke_nets/__pycache__/x.pyc", "**/__pycache__", True),
    ],
)
def test_patterns_are_read_as_docker_does(path, pattern, expected):
    assert excluded(path, pattern) == expected
