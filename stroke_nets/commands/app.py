"""The application that the commands register with, and what they share: errors, options, output.

Nothing here or in the commands' modules imports what takes seconds to load; each command imports
what it needs when it runs.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from typer.core import TyperGroup

from stroke_nets import __version__
from stroke_nets.errors import StrokeNetsError, UsageError
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.runs.interruption import Interrupted

Panel = Literal["Predict", "Data", "Train", "Papers", "Share and serve"]


class Commands(TyperGroup):
    """Commands in the order of their panels, whose errors are one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names as the help shows them."""
        panels = get_args(Panel)
        shown = {name: getattr(one, "rich_help_panel", None) for name, one in self.commands.items()}
        known = [name for name, panel in shown.items() if panel in panels]  # others are hidden
        return sorted(known, key=lambda name: panels.index(shown[name]))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command that was named, and exit; a program gets the errors themselves."""
        if not extra.get("standalone_mode", True):
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra | {"standalone_mode": False})
        except Exception as error:
            text, code = _told(error)
            print(text, file=sys.stderr)
        sys.exit(code)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the command line."""
        with _interruptions():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _interruptions():
            return super().invoke(ctx)


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Make an interruption an error; typer would make each of them one by Ctrl-C."""
    try:
        yield
    except Interrupted as stop:
        error = StrokeNetsError(str(stop))
        error.exit_code = stop.exit_code
        raise error from None


def _told(error: Exception) -> tuple[str, int]:
    """What to print of an error that a user can fix, and its exit code; others are raised."""
    if type(error).__name__ == "NoArgsIsHelpError":  # typer's, which it does not export
        return str(error), 2
    if hasattr(error, "format_message"):  # an unknown option, a missing argument
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "stroke-nets"
        said = " ".join(error.format_message().split()).rstrip(".")
        return f"error: {where}: {said}; see '{where} --help'", 2
    known = find_error(error)
    if known is None:
        raise error
    return f"error: {known}", known.exit_code


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Stroke-lesion segmentation in MRI. Research use only; not a medical device.

    Exit codes: 0 done, 2 usage, 3 problems found, 75 stopped by SIGTERM, 130 by Ctrl-C.

    Example: stroke-nets predict sub-1_T1w.nii.gz predictions
    """


def _silence(quiet: bool) -> bool:
    """Hide the progress bars as well."""
    if quiet:
        os.environ["STROKE_NETS_NO_PROGRESS"] = "1"
    return quiet


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", callback=_silence, help="Print only warnings and errors.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Allow code from outside this project to run; 'inspect' lists it."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that are already there.")
]
Segment = Annotated[
    str | None,
    typer.Option(help="Name of the lesion's segment in .seg.nrrd files. Default: the only one."),
]
Folds = Annotated[int, typer.Option("--folds", help="Number of folds with similar lesion sizes.")]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.")]
Scale = Literal["demo", "bench", "full"]
Policy = Annotated[
    Literal["paper", "penalty"],
    typer.Option(
        help="Distance to an empty mask: left out as in the papers, or the image's diagonal."
    ),
]
# where OUT has no default it is the last argument; --out, its older spelling, still works
Out = Annotated[Path | None, typer.Argument(metavar="OUT", help="File or folder to write.")]
OldOut = Annotated[Path | None, typer.Option("--out", "-o", hidden=True)]


def chosen_out(out: Path | None, old: Path | None) -> Path:
    """The path to write, given in either spelling.

    Raises:
        UsageError: it is missing, or given twice.
    """
    found = out or old
    if found is None or (out and old):
        raise UsageError("OUT: give the file or folder to write, once, as the last argument")
    return found


def tell(text: str, content: object, as_json: bool, quiet: bool = False) -> None:
    """Print what a command did, for people or for scripts."""
    if as_json:
        print(json.dumps(content, indent=1, default=str))
    elif text and not quiet:
        print(text)


@contextlib.contextmanager
def hushed(silent: bool) -> Iterator[None]:
    """Drop what is printed inside, for commands that print as they go."""
    with contextlib.ExitStack() as stack:
        if silent:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
