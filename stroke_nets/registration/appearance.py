"""What a scan looks like: another contrast than T1w, or no skull, which the weights do not know.

`predict` sees it when it registers a scan; `check` and `manifest` register each scan for it, and
the manifest tells it to training.
"""

import nibabel as nib
import numpy as np

from stroke_nets.errors import UsageError
from stroke_nets.registration.register import Registration, register
from stroke_nets.registration.volume import Volume
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.finding import Finding
from stroke_nets.scans.reader import Scan

LEAST_SIDE = 16  # voxels


def seen(scan: Scan, in_place: bool = False, contrast: str = T1W) -> Registration:
    """The registration of a scan that was not preprocessed.

    Args:
        scan: the scan.
        in_place: the scan lies on the template already, on whatever grid.
        contrast: that it should have: ``T1w`` or ``diffusion``.
    """
    image = nib.as_closest_canonical(scan.image)
    volume = Volume(np.asarray(image.dataobj, np.float32), image.affine)
    return register(volume, in_place, contrast)


def appearance(scan: Scan) -> list[Finding]:
    """Notices of what is odd about a scan (row L11); none of a few slices, which are no head."""
    if min(scan.grid.shape) < LEAST_SIDE:
        return []
    try:
        found = seen(scan)
        odd = found.problems() + found.warnings()
    except UsageError as error:  # niimath gave up
        odd = [str(error)]
    fix = "give T1w scans of whole heads, or train on such scans"
    return [Finding(str(scan.path), "L11", what, fix, notice=True) for what in odd]
