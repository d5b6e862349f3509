import io

import pytest
import rich.console

from stroke_nets import progress


@pytest.fixture
def shown(monkeypatch):
    """What a terminal of 80 columns shows."""
    terminal = io.StringIO()
    given = {"file": terminal, "force_terminal": True, "width": 80}
    monkeypatch.setattr(progress, "Console", lambda stderr: rich.console.Console(**given))
    return terminal


def test_a_terminal_shows_what_is_done_and_how_much(shown):
    assert list(progress.track(iter("abc"), "reading scans", 3)) == ["a", "b", "c"]
    assert "reading scans" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_quiet_shows_nothing(shown, monkeypatch):
    monkeypatch.setenv(progress.HIDDEN, "1")
    assert list(progress.track([1], "reading scans", 1)) == [1]
    assert shown.getvalue() == ""


def test_files_get_no_bar(capsys):
    assert list(progress.track([1], "reading scans", 1)) == [1]
    assert capsys.readouterr() == ("", "")
