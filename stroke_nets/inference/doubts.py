"""What is doubtful about a scan, in words; none of it changes the mask."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from stroke_nets.errors import DataError
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.register import register
from stroke_nets.registration.volume import Volume
from stroke_nets.scans.reader import Scan

# Bytes of memory for each voxel of a scan: see docs/predict.md for the measurement.
BYTES, BYTES_AS_IT_IS = 40, 80


def doubts(scan: Scan, registration: OnTemplate | None) -> list[str]:
    """What looks wrong with a scan on the template.

    Args:
        scan: T1w scan.
        registration: None: the scan lies in the template's world as it is.
    """
    found = [f"{notice.what}; {notice.fix}" for notice in scan.notices]
    if registration is not None:
        return found + registration.warnings
    image = nib.as_closest_canonical(scan.image)
    seen = register(Volume(np.asarray(image.dataobj, np.float32), image.affine), in_place=True)
    return found + seen.problems() + seen.warnings()


def require_memory(scan: Scan, registered: bool) -> None:
    """Refuse a scan that would not fit into memory, before anything of its size is decoded.

    Raises:
        DataError: the scan is too large.
    """
    voxels = int(np.prod(scan.announced, dtype=object))
    need, free = voxels * (BYTES if registered else BYTES_AS_IT_IS), free_memory()
    if need > free:
        raise DataError(
            f"{scan.path}: its {voxels / 1e6:.0f} million voxels need about {need / 1e9:.1f} GB of "
            f"memory, {free / 1e9:.1f} GB are free; resample it to 1 mm"
        )


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
