"""Write the table of docs/monai.md from docs/monai_outcomes.json, which holds outcomes of tests.

A test fills a cell by the fixture ``record_outcome(bundle, column)`` of tests/conftest.py:

python -m pytest --record-outcomes TESTS    # writes docs/monai_outcomes.json
python docs/monai_table.py                  # writes the table into docs/monai.md
"""

import json
from collections.abc import Mapping
from pathlib import Path

from stroke_nets.bundle_folders import bundle_names

DOCS = Path(__file__).parent
PAGE, OUTCOMES = DOCS / "monai.md", DOCS / "monai_outcomes.json"
START, END = "<!-- made by docs/monai_table.py -->\n", "<!-- end -->\n"
COLUMNS = {
    "run": "run",
    "label_infer": "Label infer",
    "label_train": "Label train",
    "torchscript": "TorchScript",
    "onnx": "ONNX",
    "verify": "verify",
    "two_process": "2-process",
}


def table(outcomes: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """Markdown: a tick where a test passed, a numbered reason where a test shows why not."""
    reasons: list[str] = []

    def cell(name: str, column: str) -> str:
        outcome = outcomes.get(name, {}).get(column, {}).get("outcome", "")
        if outcome in ("passed", "failed", ""):
            return {"passed": "✓", "failed": "✗ failed", "": ""}[outcome]
        if outcome not in reasons:
            reasons.append(outcome)
        return f"no ({reasons.index(outcome) + 1})"

    lines = ["| bundle | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in bundle_names():
        lines.append(f"| `{name}` | " + " | ".join(cell(name, c) for c in COLUMNS) + " |")
    notes = [f"({number}) {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n\n" + "".join(f"{note}\n\n" for note in notes)


def page(text: str, outcomes: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """The page with its table made anew."""
    before, rest = text.split(START)
    return before + START + table(outcomes) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads(OUTCOMES.read_text())))
    print(f"wrote {PAGE}")
