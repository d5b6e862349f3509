"""The folder of one run: ``runs/<bundle>/<overlay or default>/fold<k>/``.

It holds ``checkpoints/``, ``events/``, ``predictions/``, ``cases.csv``, ``summary.json`` and
``config.yaml``.
"""

import inspect
import os
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from stroke_nets.errors import UsageError

PLAIN = (str, int, float, bool, type(None))


def start_run(output_dir: str, overwrite: bool = False) -> None:
    """Open a run folder and write the configuration that runs into it.

    Called from a bundle's ``initialize``. The network's number of parameters is written with the
    configuration, as ``parameters``, for the tables.

    Args:
        output_dir: the run folder.
        overwrite: train again over checkpoints that are there.

    Raises:
        UsageError: the folder holds a finished or started training.
    """
    folder = Path(output_dir)
    if (folder / "checkpoints" / "last.pt").exists() and not overwrite:
        raise UsageError(
            f"output_dir {folder}: a training is there; choose another --output_dir or say "
            "--overwrite true"
        )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".config.yaml.tmp"
    temporary.write_text(yaml.safe_dump(_resolved(calling_parser()), sort_keys=False))
    os.replace(temporary, folder / "config.yaml")


def calling_parser() -> ConfigParser:
    """The MONAI parser that is evaluating the expression this is called from.

    MONAI gives an expression no handle on the configuration around it, so it is looked up among
    the callers.

    Raises:
        RuntimeError: called from elsewhere than a bundle's expression.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("calling_parser works only inside a bundle's expression")


def _resolved(parser: ConfigParser) -> dict[str, Any]:
    """Overlays and overrides merged; top-level expressions that give plain values evaluated."""
    config = {k: v for k, v in parser.get().items() if k != parser.meta_key}
    for key, value in config.items():
        if isinstance(value, str) and value[:1] in "$@" and not value.startswith("$import"):
            result = parser.get_parsed_content(key)
            if isinstance(result, PLAIN):
                config[key] = result
    if "network_def" in config:
        network = parser.get_parsed_content("network_def")
        config["parameters"] = sum(weights.numel() for weights in network.parameters())
    return config
