"""Errors that a user can fix, with the exit codes of the command."""

import difflib
from collections.abc import Iterable


class StrokeNetsError(Exception):
    """One line that names the file or option, what is wrong and what to do."""

    exit_code = 1

    def __str__(self) -> str:
        """The text without control characters, which names of files may hold."""
        text = super().__str__()
        return text if text.isprintable() else "".join(map(_shown, text))


class UsageError(StrokeNetsError):
    """The command was used wrongly: an invalid option, a missing folder."""

    exit_code = 2


class DataError(StrokeNetsError):
    """The data have a problem: an unreadable scan, a mask on another grid."""

    exit_code = 3


def _shown(character: str) -> str:
    return character if character.isprintable() or character == "\n" else repr(character)[1:-1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: ``"; did you mean max_epochs?"``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
