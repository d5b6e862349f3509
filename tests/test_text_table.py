import io

import pytest
import rich.console

from stroke_nets.text_table import markdown_table, text_table

PATH = "/data/" + "long/" * 40 + "[sub-1]_T1w.nii.gz"


def test_outside_a_terminal_each_row_is_one_whole_line():
    table = text_table(("file", "what"), [(PATH, "empty"), ("b", "[red]not markup")])
    width = len(PATH) + 2
    assert table.splitlines() == [
        f"{'file':{width}}what",
        f"{PATH:{width}}empty",
        f"{'b':{width}}[red]not markup",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_in_a_terminal_long_cells_are_folded_and_never_cut(width, monkeypatch):
    real = rich.console.Console
    terminal = {"force_terminal": True, "color_system": None, "width": width, "file": io.StringIO()}
    monkeypatch.setattr(rich.console, "Console", lambda **given: real(**terminal | given))
    lines = text_table(("file", "what"), [(PATH, "x")]).splitlines()[1:]
    assert all(len(line) <= width for line in lines)
    assert "".join(line.split()[0] for line in lines) == PATH


def test_a_table_of_markdown_keeps_its_columns():
    assert markdown_table(("method", "Dice"), [("a|b", 0.5)], "lr").splitlines() == [
        "| method | Dice |",
        "| --- | ---: |",
        r"| a\|b | 0.5 |",
    ]
