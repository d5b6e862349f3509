"""Validate the options of a bundle's workflow before anything starts.

``python -m monai.bundle run`` adds any ``--option`` to the configuration, known or not, parses only
Python literals (``--flips false`` is a string, which is true), replaces values where ``--+option``
should extend them, and ignores ``--option None``.
"""

import inspect
import math
import pydoc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire
from fire.decorators import SetParseFns
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import run, update_kwargs

from stroke_nets.datasets.manifest import PARTS
from stroke_nets.errors import UsageError, did_you_mean
from stroke_nets.runs.bundle_run import TEXT, read_text
from stroke_nets.runs.configuration import calling_parser
from stroke_nets.runs.exit_codes import one_line_errors
from stroke_nets.runs.interruption import stop_on_signals

MONAIS_OWN = {"bundle_root", "self", "workflow_name"}
MONAIS_OWN |= {n for f in (run, ConfigWorkflow.__init__) for n in inspect.signature(f).parameters}
OF_A_COMPONENT = {"_disabled_", "_requires_", "_mode_", "_desc_"}  # MONAI's, with ``_target_``
WORDS = {"true": True, "false": False, "null": None, "none": None}


@dataclass(frozen=True)
class Rule:
    """What an option of any bundle must be.

    Attributes:
        words: what to give, for the message.
        allows: whether a value is.
    """

    words: str
    allows: Callable[[Any], bool]

    @classmethod
    def whole(cls, least: int) -> "Rule":
        """A whole number from ``least`` on."""
        return cls(f"a whole number, {least} or more", lambda value: _is_whole(value, least))

    @classmethod
    def choice(cls, *words: str | int) -> "Rule":
        """One of some words or numbers."""
        return cls(f"one of {', '.join(map(str, words))}", lambda value: value in words)

    @classmethod
    def each(cls, what: str, allows: Callable[[Any], bool]) -> "Rule":
        """A list, of which each element is allowed."""
        return cls(
            f"a list of {what}",
            lambda value: (
                isinstance(value, list | tuple) and bool(value) and all(map(allows, value))
            ),
        )


PAIR = Rule.each("two whole numbers", lambda value: _is_whole(value, 1))
OPTIONAL = ("patience", "spacing", "compiled_dir", "manifest")
"""Options that may be null."""
RULES = {
    **dict.fromkeys(TEXT, Rule("a name or path", lambda value: isinstance(value, str | Path))),
    **dict.fromkeys(("max_epochs", "batch_size", "workers"), Rule.whole(1)),
    **dict.fromkeys(("train_batches", "val_batches", "val_interval", "patience"), Rule.whole(1)),
    **dict.fromkeys(("heads", "res_heads"), Rule.whole(1)),
    **dict.fromkeys(("num_workers", "fold", "seed"), Rule.whole(0)),
    "size": Rule("a whole number, or two", lambda value: _is_whole(value, 1) or PAIR.allows(value)),
    "classes": Rule.whole(2),
    **dict.fromkeys(
        ("learning_rate", "lr_gamma", "clip_norm"),
        Rule("a number above 0", lambda value: _is_number(value) and 0 < value < math.inf),
    ),
    "weight_decay": Rule("0 or more", lambda value: _is_number(value) and 0 <= value < math.inf),
    **dict.fromkeys(
        ("dropout", "momentum"),
        Rule("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1),
    ),
    **dict.fromkeys(
        ("amp", "drop_last", "flips", "masked_zscore", "overwrite", "resume"),
        Rule("true or false", lambda value: isinstance(value, bool)),
    ),
    **dict.fromkeys(
        ("widths", "blocks", "patch_size"),
        Rule.each("whole numbers, 1 or more", lambda value: _is_whole(value, 1)),
    ),
    "offsets": Rule.each("whole numbers", lambda value: _is_whole(value, -math.inf)),
    "spacing": Rule.each("millimetres above 0", lambda value: _is_number(value) and value > 0),
    "supervision": Rule.each("weights, 0 or more", lambda value: _is_number(value) and value >= 0),
    "space": Rule.choice("native", "network"),
    "part": Rule.choice(*PARTS),
    "policy": Rule.choice("paper", "penalty"),
    "connectivity": Rule.choice(6, 18, 26),
}
"""What options must be, wherever a bundle has them. Others are judged by what takes them."""


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
        stop_on_signals()
        for key, value in read_options(*command_line(sys.argv[1:])).items():
            parser[key] = value
    for key in RULES:
        if key in parser:
            require_possible(key, parser.get_parsed_content(key))


def require_possible(key: str, value: Any) -> None:
    """Refuse a value that breaks the option's rule, if there is one.

    Raises:
        UsageError: it does.
    """
    rule = RULES.get(key)
    if rule and not (rule.allows(value) or (value is None and key in OPTIONAL)):
        raise UsageError(f"--{key} {value}: give {rule.words}")


def command_line(arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The configuration files and the options of a ``monai.bundle`` command line.

    Args:
        arguments: ``run training --config_file FILE --option value ...``, parsed with Fire, as in
            MONAI.
    """
    take = SetParseFns(**dict.fromkeys(TEXT, read_text))(lambda *words, **options: options)
    given: dict[str, Any] = fire.Fire(take, command=list(arguments), serialize=lambda _: None)
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
    return str(value) if (plain or name in TEXT) and _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any, least: float) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= least
