"""How much memory this process can still have, on the machine and in its container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process can still have, on the machine and in its container.

    Args:
        root: of the file system; tests give another.
    """
    return min([_machine(root), *_container(root)])


def _container(root: Path) -> Iterator[int]:
    """What the limits of control groups leave, version 2 and 1; cached files do not count."""
    for group, most, used, cached in (
        ("", "memory.max", "memory.current", "{}active_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_{}active_file"),
    ):
        folder = root / "sys/fs/cgroup" / group
        with contextlib.suppress(OSError, ValueError):  # another version, or "max": no limit
            limit, usage = (int((folder / name).read_text()) for name in (most, used))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            files = sum(int(stat.get(cached.format(kind), 0)) for kind in ("", "in"))
            yield max(limit - usage + files, 0)


def _machine(root: Path) -> int:
    try:
        with open(root / "proc/meminfo", encoding="ascii") as lines:
            known = dict(line.split(":") for line in lines)
        return int(known["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
