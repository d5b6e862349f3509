"""The options of ``python -m monai.bundle run``, checked before anything starts.

MONAI takes any ``--option`` into the configuration, known or not, and reads only Python's
spelling, so that ``--flips false`` would be a text, which is true.
"""

import inspect
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import create_workflow

from stroke_nets.errors import UsageError, did_you_mean
from stroke_nets.runs.run_folder import calling_parser

MONAIS_OWN = set(inspect.signature(ConfigWorkflow.__init__).parameters) | {"bundle_root"}

WORDS = {"true": True, "false": False, "null": None, "none": None}


def check_options() -> None:
    """Refuse options that the bundle's files do not know, or of another kind than theirs.

    Called from a bundle's ``initialize``; what a program gives to `ConfigWorkflow` itself is not
    looked at. ``true``, ``false`` and ``null`` that came as text become what they say.

    Raises:
        UsageError: an option is unknown, or has a value of the wrong kind.
    """
    options, files = _given()
    if not options:
        return
    config = ConfigParser.load_config_files(files)
    known = ConfigParser(config)
    parser = calling_parser()
    for name, value in options.items():
        key = name.lstrip("+").replace("#", "::")
        parent, _, last = key.rpartition("::")  # MONAI itself refuses a parent that is not there
        siblings = known[parent] if parent else config
        free = isinstance(siblings, list) or "_target_" in siblings  # a component checks its own
        if not free and last not in siblings and key not in MONAIS_OWN:
            raise UsageError(
                f"--{name}: no such option of this bundle{did_you_mean(last, siblings)}"
                " (its options are the keys of its configuration file)"
            )
        if key in known and (read := _read(name, value, known[key])) is not value:
            parser[key] = read


def _given() -> tuple[dict[str, Any], Any]:
    """The options of the command under way and its configuration files, found among the callers."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not create_workflow.__code__:
        frame = frame.f_back
    if frame is None:
        return {}, None
    given = {k: v for k, v in frame.f_locals["_args"].items() if k not in MONAIS_OWN}
    return given, frame.f_locals["config_file"]


def _read(name: str, value: Any, base: Any) -> Any:
    """An option's value as the configuration would hold it, if it is of the kind it has there."""
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        return value  # an expression
    if isinstance(value, str) and (not isinstance(base, str) or base[:1] == "$"):
        value = WORDS.get(value.lower(), value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(base, bool) and not isinstance(value, bool):
        raise UsageError(f"--{name} {value}: give true or false")
    if isinstance(base, int | float) and not isinstance(base, bool) and not number:
        raise UsageError(f"--{name} {value}: give a number, as {base}")
    if isinstance(base, list) and not isinstance(value, list | tuple):
        raise UsageError(f"--{name} {value}: give a list, as '{base}'")
    return value
