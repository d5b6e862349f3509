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
    assert len(rows) == len(set(rows)) == 101
