"""Read a configuration as plain data, whatever it holds: nothing is executed and nothing grows."""

import json
import locale
from pathlib import Path
from typing import Any

import yaml

from stroke_nets.errors import DataError

LARGEST = 1_000_000  # bytes; this package's own configurations have up to 30,000
MOST_VALUES = 50_000  # after aliases are expanded; this package's own have up to 430
DEEPEST = 30  # levels; own ones have up to 7
LONGEST_KEY, LONGEST_NUMBER = 200, 400  # characters
CONFIGS = (".json", ".yaml", ".yml")


def _plain(base: Any) -> Any:
    """A loader of YAML's plain types that refuses what takes endlessly long to read.

    Merge keys can double at every level; a long number takes the square of its length.
    """

    class Loader(base):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.constructor.ConstructorError(None, None, "has a merge key (<<)")
            super().flatten_mapping(node)

        def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
            return super().construct_yaml_int(_short(node))

        def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
            return super().construct_yaml_float(_short(node))

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_float)
    return Loader


def _short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > LONGEST_NUMBER:
        raise yaml.constructor.ConstructorError(None, None, "has an endless number")
    return node


FOREIGN = _plain(yaml.SafeLoader)  # what MONAI reads with
OWN = _plain(getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # faster


def parse_config(name: str, content: bytes, loader: Any = FOREIGN) -> Any:
    """The content of a JSON or YAML file.

    Args:
        name: of the file; its ending decides.
        content: of the file.
        loader: of YAML.

    Raises:
        ValueError: it is no such file, is too large, or its aliases make it so.
    """
    if len(content) > LARGEST:
        raise ValueError(f"is larger than {LARGEST} bytes")
    try:
        text = content.decode("utf-8")
        if loader is FOREIGN and text != content.decode(locale.getpreferredencoding(False)):
            raise ValueError("this machine's encoding is not UTF-8, so that MONAI reads other text")
        if name.lower().endswith(".json"):
            config = json.loads(text)
        else:
            config = loader(text).get_single_data()
        size = _size(config, {}, 0)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"is no plain data: {' '.join(str(error).split())}") from error
    if size > MOST_VALUES:
        raise ValueError(f"expands to more than {MOST_VALUES} values")
    return config


def read_config(path: Path) -> dict[str, Any]:
    """The content of a run's ``config.yaml``, or any other configuration.

    Raises:
        DataError: it cannot be read, is too large, or holds no keys.
    """
    try:
        with path.open("rb") as stream:
            config = parse_config(path.name, stream.read(LARGEST + 1))
        if not isinstance(config, dict):
            raise ValueError("holds no keys")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; restore the file of the training") from error
    return config


def _size(node: Any, known: dict[int, int], depth: int) -> int:
    """The number of values, each alias counted; in a time that does not grow with them."""
    if node is None or isinstance(node, str | int | float | bool):
        return 1
    if not isinstance(node, dict | list):
        raise ValueError(f"holds a {type(node).__name__}")
    if depth > DEEPEST:
        raise ValueError(f"is nested deeper than {DEEPEST} levels, or within itself")
    if id(node) not in known:
        if isinstance(node, dict) and any(len(str(key)) > LONGEST_KEY for key in node):
            raise ValueError(f"has a key of more than {LONGEST_KEY} characters")
        values = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_size(value, known, depth + 1) for value in values)
    return known[id(node)]
