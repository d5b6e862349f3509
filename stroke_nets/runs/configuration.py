"""The configuration of the current run: MONAI's parser, its values and their checksum."""

import inspect
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import yaml
from monai.bundle import ConfigParser

PLAIN = (str, int, float, bool, type(None))
# Options that may change when a training is resumed: paths, speed and duration.
FREE = {"output_dir", "cache_dir", "bundle_root", "device", "num_workers", "max_epochs"}
FREE |= {"val_interval", "resume", "overwrite"}
FREE |= {"imports", "initialize", "run", "training", "finalize"}


def calling_parser() -> ConfigParser:
    """The MONAI parser that evaluates the calling configuration item.

    MONAI does not pass the configuration to the items it evaluates, so the parser is looked up in
    the call stack; only this function does so.

    Raises:
        RuntimeError: it was not called from a configuration item.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("calling_parser works only inside an item of a bundle's configuration")


def resolved(parser: ConfigParser) -> dict[str, Any]:
    """Merge overlays and options, and evaluate top-level expressions with plain values.

    The network's number of parameters is added as ``parameters``, for the papers' tables.
    """
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


def fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that must not change when a training is resumed."""
    free = FREE - ({"max_epochs"} if "@max_epochs" in str(config.get("lr_scheduler")) else set())
    return {key: value for key, value in config.items() if key not in free}


def checksum(config: Mapping[str, Any]) -> str:
    """The SHA-256 of the `fixed` part of a configuration."""
    return sha256(yaml.safe_dump(fixed(config)).encode()).hexdigest()
