"""Read a configuration as plain data, whatever it holds: nothing is executed and nothing grows."""

import json
from pathlib import Path
from typing import Any

import yaml

from stroke_nets.errors import DataError

LARGEST = 1_000_000  # bytes; this package's own configurations have up to 30,000
MOST_VALUES = 200_000  # after aliases are expanded
DEEPEST = 100
CONFIGS = (".json", ".yaml", ".yml")


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where it was built


class _Loader(_Safe):
    """YAML's plain types, without merge keys, which can double at every level."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "has a merge key (<<)")
        super().flatten_mapping(node)


def parse_config(name: str, content: bytes) -> Any:
    """The content of a JSON or YAML file.

    Args:
        name: of the file; its ending decides.
        content: of the file.

    Raises:
        ValueError: it is no such file, is too large, or its aliases make it so.
    """
    if len(content) > LARGEST:
        raise ValueError(f"is larger than {LARGEST} bytes")
    try:
        if name.lower().endswith(".json"):
            config = json.loads(content)
        else:
            config = _Loader(content).get_single_data()
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
        values = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_size(value, known, depth + 1) for value in values)
    return known[id(node)]
