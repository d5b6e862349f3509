"""What is doubtful about a scan, in words; none of it changes the mask."""

import numpy as np

from stroke_nets.errors import DataError
from stroke_nets.memory import free_memory
from stroke_nets.registration.appearance import seen
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.reader import Scan

# Bytes of memory for each voxel of a scan: see docs/predict.md for the measurement.
BYTES, BYTES_AS_IT_IS = 40, 80


def doubts(scan: Scan, registration: OnTemplate | None, contrast: str = T1W) -> list[str]:
    """What looks wrong with a scan on the template.

    Args:
        scan: the scan.
        registration: None: the scan lies in the template's world as it is.
        contrast: that the method expects: ``T1w`` or ``diffusion``.
    """
    found = [f"{notice.what}; {notice.fix}" for notice in scan.notices]
    if registration is not None:
        return found + registration.warnings
    as_it_is = seen(scan, in_place=True, contrast=contrast)
    return found + as_it_is.problems() + as_it_is.warnings()


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
