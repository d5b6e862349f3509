"""Write docs/faults.md: every row of docs/faults.json and the tests that are named after it.

python docs/faults.py
"""

import ast
import json
import re
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS, PAGE = ROOT / "docs" / "faults.json", ROOT / "docs" / "faults.md"
NAMED = re.compile(r"test((?:_[A-Z]\d+)+)_")  # test_T12_..., test_L1_L2_...
HEAD = """# Bad input and faults

What must happen, and the test that shows it. Made by `python docs/faults.py` from
`docs/faults.json` and the tests' names; do not edit. The rule for every row: one line that names
the file, what is wrong and how to fix it; an exit code that is not 0; nothing overwritten,
nothing lost.

"""


def tests_by_row() -> dict[str, list[str]]:
    """The tests that bear each row's id, with their files."""
    found = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            named = NAMED.match(node.name) if isinstance(node, ast.FunctionDef) else None
            for row in named[1].strip("_").split("_") if named else ():
                found[row].append(f"{file.relative_to(ROOT / 'tests').as_posix()}: {node.name}")
    return found


def tests_of(row: dict[str, Any], tests: dict[str, list[str]]) -> list[str]:
    """The tests that bear a row's id, and those of other rows that it names."""
    return tests[row["id"]] + row.get("tests", [])


def page() -> str:
    """The page as Markdown."""
    tests, rows = tests_by_row(), json.loads(ROWS.read_text())
    tested = sum(bool(tests_of(row, tests)) for row in rows)
    text = HEAD + f"{tested} of {len(rows)} rows are tested.\n"
    for group, members in groupby(rows, lambda row: row["group"]):
        text += f"\n## {group}\n\n| id | case | expected | state |\n|---|---|---|---|\n"
        for row in members:
            names = "<br>".join(f"`{name}`" for name in tests_of(row, tests))
            state = f"tested by {names}" if names else row.get("no fault", "no test yet")
            text += f"| {row['id']} | {row['case']} | {row['expected']} | {state} |\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}")
