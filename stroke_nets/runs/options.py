"""Validate the options of a bundle's workflow before anything starts.

``python -m monai.bundle run`` adds any ``--option`` to the configuration, known or not, parses only
Python literals (``--flips false`` is a string, which is true), replaces values where ``--+option``
should extend them, and ignores ``--option None``.
"""

import inspect
import pydoc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import run, update_kwargs

from stroke_nets.errors import UsageError, did_you_mean
from stroke_nets.runs.configuration import calling_parser
from stroke_nets.runs.exit_codes import one_line_errors

MONAIS_OWN = {"bundle_root", "self", "workflow_name"}
MONAIS_OWN |= {n for f in (run, ConfigWorkflow.__init__) for n in inspect.signature(f).parameters}
OF_A_COMPONENT = {"_disabled_", "_requires_", "_mode_", "_desc_"}  # MONAI's, with ``_target_``
WORDS = {"true": True, "false": False, "null": None, "none": None}

WHOLE = {"max_epochs": 1, "batch_size": 1, "train_batches": 1, "val_batches": 1, "val_interval": 1}
WHOLE |= {"patience": 1, "num_workers": 0, "fold": 0, "seed": 0, "workers": 1}
"""Integer options and their minimum values."""
POSITIVE = ("learning_rate", "lr_gamma", "clip_norm")
CHOICES = {"space": ("native", "network")}


def check_options() -> None:
    """Check the options of the current workflow; its first ``initialize`` step.

    From here on, errors of this package are reported in one line. Options that a program passes to
    `monai.bundle.ConfigWorkflow` itself are only checked for impossible values.

    Raises:
        UsageError: an option is unknown, has the wrong type, or is out of range.
    """
    one_line_errors()
    parser = calling_parser()
    if Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py"):
        for key, value in read_options(*command_line(sys.argv[1:])).items():
            parser[key] = value
    for key in [*WHOLE, *POSITIVE, *CHOICES]:
        if key in parser:
            _require_possible(key, parser.get_parsed_content(key))


def command_line(arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The configuration files and the options of a ``monai.bundle`` command line.

    Args:
        arguments: ``run training --config_file FILE --option value ...``, parsed with Fire, as in
            MONAI.
    """
    given: dict[str, Any] = fire.Fire(
        lambda *words, **options: options, command=list(arguments), serialize=lambda _: None
    )
    given = dict(update_kwargs(given.pop("args_file", None), False)) | given
    return given.get("config_file"), {k: v for k, v in given.items() if k not in MONAIS_OWN}


def read_options(files: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options to configuration values, and refuse unknown ones.

    The strings ``true``, ``false`` and ``null`` are converted to their values.

    Args:
        files: path or paths of the bundle's files, in merge order.
        options: values by name; ``a#b`` or ``a::b`` is ``b`` in the section ``a``.

    Returns:
        The values by their ids (``a::b``).

    Raises:
        UsageError: an option is unknown, or its value has the wrong type.
    """
    known = ConfigParser(ConfigParser.load_config_files(files))
    read = {}
    for name, value in options.items():
        if name.startswith("+"):
            raise UsageError(
                f"--{name}: would replace {name[1:]}, not extend it; write an overlay with {name}"
            )
        key = name.replace("#", "::")
        _require_known(name, key, known)
        read[key] = _read(name, value, known[key]) if key in known else value
    return read


def _require_known(name: str, key: str, known: ConfigParser) -> None:
    """Refuse an option that is neither in the files nor an argument of a component in them."""
    parent, _, last = key.rpartition("::")
    if key in known:
        return
    if parent not in known:
        _require_known(name, parent, known)
    section = known[parent] if parent else known.get()
    taken = [k for k in section if k != known.meta_key] if isinstance(section, dict) else []
    if isinstance(section, dict) and "_target_" in section:
        parameters = _parameters(section["_target_"])
        if parameters is None:
            return
        taken += [*parameters, *OF_A_COMPONENT]
    if last not in taken:
        raise UsageError(
            f"--{name}: no such option of this bundle{did_you_mean(last, taken)}"
            " (its options are the keys of its configuration file)"
        )


def _parameters(target: str) -> list[str] | None:
    """The names of a component's arguments; None if it takes any or is unknown."""
    component: Any = pydoc.locate(target)
    if component is None:
        return None  # MONAI looks it up by its bare name
    found = inspect.signature(component).parameters
    return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else list(found)


def _read(name: str, value: Any, base: Any) -> Any:
    """Convert an option to the type that it has in the configuration, or refuse it."""
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        return value  # an expression
    plain = isinstance(base, str) and base[:1] not in ("$", "@", "%")
    if isinstance(value, str) and not plain:
        value = WORDS.get(value.lower(), value)
    if value is None and not (base is None or isinstance(base, dict)):
        raise UsageError(f"--{name} None: give a value; in the configuration it is {base}")
    if isinstance(base, bool) and not isinstance(value, bool):
        raise UsageError(f"--{name} {value}: give true or false")
    if _is_number(base) and not _is_number(value):
        raise UsageError(f"--{name} {value}: give a number, as {base}")
    if isinstance(base, list):
        numbers = all(map(_is_number, base))
        if not isinstance(value, list | tuple) or (numbers and not all(map(_is_number, value))):
            raise UsageError(f"--{name} {value}: give a list, as '{base}'")
    return str(value) if plain and _is_number(value) else value  # a folder may be named 2024


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_possible(key: str, value: Any) -> None:
    """Refuse a value that is impossible for any training or prediction."""
    if value is None and key == "patience":
        return
    if key in WHOLE and not (isinstance(value, int) and _is_number(value) and value >= WHOLE[key]):
        raise UsageError(f"--{key} {value}: give a whole number, {WHOLE[key]} or more")
    if key in POSITIVE and not (_is_number(value) and value > 0):
        raise UsageError(f"--{key} {value}: give a number above 0")
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"--{key} {value}: choose one of {', '.join(CHOICES[key])}")
