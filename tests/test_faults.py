import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_faults_is_up_to_date():
    faults = runpy.run_path(str(ROOT / "docs" / "faults.py"))
    message = "run: python docs/faults.py"
    assert (ROOT / "docs" / "faults.md").read_text() == faults["page"](), message


def test_every_row_stands_once():
    rows = [row["id"] for row in json.loads((ROOT / "docs" / "faults.json").read_text())]
    assert len(rows) == len(set(rows)) == 139


def test_every_row_has_a_test_and_every_test_that_a_row_names_is_there():
    faults = runpy.run_path(str(ROOT / "docs" / "faults.py"))
    tests = faults["tests_by_row"]()
    for row in json.loads((ROOT / "docs" / "faults.json").read_text()):
        named = faults["tests_of"](row, tests)
        assert named, row["id"]
        for name in named:
            file, function = name.split(": ")
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(), name
