"""The table of docs/monai.md: it is what the recorded outcomes give, and each has its test."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = runpy.run_path(str(ROOT / "docs" / "monai_table.py"))
OUTCOMES = json.loads(TABLE["OUTCOMES"].read_text())


def test_page_is_what_the_outcomes_give():
    text = TABLE["PAGE"].read_text()
    assert TABLE["page"](text, OUTCOMES) == text, "run python docs/monai_table.py"


@pytest.mark.parametrize("bundle", OUTCOMES)
def test_every_outcome_has_its_test(bundle):
    assert OUTCOMES[bundle].keys() <= TABLE["COLUMNS"].keys()
    for cell in OUTCOMES[bundle].values():
        file, name = cell["test"].split("[")[0].split("::")
        assert f"def {name}(" in (ROOT / file).read_text(), cell


def test_ticks_failures_and_reasons_are_told_apart():
    cells = {"run": "passed", "onnx": "failed", "verify": "too large", "label_train": "too large"}
    outcomes = {"unet": {column: {"outcome": outcome} for column, outcome in cells.items()}}
    row = next(line for line in TABLE["table"](outcomes).splitlines() if "`unet`" in line)
    assert row == "| `unet` | ✓ |  | no (1) |  | ✗ failed | no (1) |  |"
    assert TABLE["table"](outcomes).count("(1) too large") == 1
