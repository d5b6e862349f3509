"""The folder of one run: ``runs/<bundle>/<overlay or default>/fold<k>/``.

It holds ``checkpoints/``, ``events/``, ``predictions/``, ``cases.csv``, ``summary.json`` and
``config.yaml``.
"""

import fcntl
import inspect
import os
import socket
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from stroke_nets.errors import UsageError
from stroke_nets.files import write_whole
from stroke_nets.training import checkpoint_file

PLAIN = (str, int, float, bool, type(None))
# What may differ when a training goes on: where things are, how fast, and for how long
FREE = {"output_dir", "ckpt_dir", "events_dir", "cache_dir", "bundle_root", "device", "num_workers"}
FREE |= {"max_epochs", "val_interval", "resume", "overwrite", "is_first_rank"}
FREE |= {"imports", "initialize", "run", "training", "finalize"}

_locks: dict[Path, int] = {}  # closing any handle of a file would unlock it


def start_run(output_dir: str, overwrite: bool = False, resume: bool = False) -> None:
    """Open a run folder for this process alone and write the configuration that runs into it.

    Called from a bundle's ``initialize``. The network's number of parameters is written with the
    configuration, as ``parameters``, for the tables.

    Args:
        output_dir: the run folder.
        overwrite: train again over checkpoints that are there.
        resume: go on from them; from the beginning if there are none.

    Raises:
        UsageError: another process trains into the folder; or it holds a finished or started
            training; or that one had other options.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    text = yaml.safe_dump(_resolved(calling_parser()), sort_keys=False)
    started = bool(checkpoint_file.newest_first(folder / "checkpoints"))
    if resume and started:
        _require_same(folder, yaml.safe_load(text))
    elif resume:
        print(f"{folder}: no checkpoint to resume from; starting from the beginning", flush=True)
    elif overwrite:
        checkpoint_file.remove_all(folder / "checkpoints")
    elif started:
        raise UsageError(
            f"output_dir {folder}: a training is there; go on with --resume true, choose another "
            "--output_dir, or say --overwrite true"
        )
    write_whole(folder / "config.yaml", text)


def config_hash() -> str:
    """The sha256 of what a training must not change when it goes on.

    Called from a bundle's expression.
    """
    return sha256(yaml.safe_dump(_fixed(_resolved(calling_parser()))).encode()).hexdigest()


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


def _lock(folder: Path) -> None:
    """Keep other processes out until this one ends, however it ends.

    A POSIX lock, which the loader's workers do not inherit: they outlive a killed training by
    seconds.
    """
    file = (folder / ".lock").resolve()
    if file not in _locks:
        _locks[file] = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(_locks[file], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(
            f"output_dir {folder}: another training runs there ({file.read_text().strip()}); wait "
            "for it, or choose another --output_dir"
        ) from error
    os.ftruncate(_locks[file], 0)
    os.pwrite(_locks[file], f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _require_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with other options than the training began with, naming them."""
    path = folder / "config.yaml"
    before = yaml.safe_load(path.read_text()) if path.is_file() else {}
    old, new = _fixed(before), _fixed(config)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if changed:
        raise UsageError(
            f"output_dir {folder}: its training had another {', '.join(changed)} (config.yaml "
            "there); resume with its options, or choose another --output_dir"
        )


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that a resumed training shares with its beginning."""
    free = FREE - ({"max_epochs"} if "@max_epochs" in str(config.get("lr_scheduler")) else set())
    return {key: value for key, value in config.items() if key not in free}


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
