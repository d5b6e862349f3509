import pytest

from stroke_nets.errors import UsageError
from stroke_nets.runs.requirements import require_without_dependencies


def test_a_missing_package_is_one_line_with_its_command():
    with pytest.raises(UsageError) as caught:
        require_without_dependencies("absent_package")
    assert "pip install --no-deps absent_package" in str(caught.value)
    assert "\n" not in str(caught.value)
    require_without_dependencies("torch")
