import re
import tomllib
from pathlib import Path

import pytest

from stroke_nets.errors import UsageError
from stroke_nets.runs.requirements import require_extra, require_without_dependencies

ROOT = Path(__file__).parents[2]


def test_a_missing_package_is_one_line_with_its_command():
    with pytest.raises(UsageError) as caught:
        require_without_dependencies("absent_package")
    assert "pip install --no-deps absent_package" in str(caught.value)
    assert "\n" not in str(caught.value)
    require_without_dependencies("torch")


def test_a_missing_extra_is_one_line_that_names_it_and_what_can_be_installed():
    with pytest.raises(UsageError) as caught:
        require_extra("absent_package", "train", "training")
    assert str(caught.value) == (
        "training: needs absent_package, of the extra [train]; run: python -m pip install "
        "absent_package"
    )
    require_extra("torch", "train", "training")


def test_every_extra_that_is_asked_for_is_declared():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    asked = [
        found
        for file in (ROOT / "stroke_nets").rglob("*.py")
        for found in re.findall(r'require_extra\("(\w+)", "(\w+)"', file.read_text())
    ]
    assert len(asked) >= 3
    for package, extra in asked:
        assert any(line.startswith(package) for line in extras[extra]), (package, extra)
