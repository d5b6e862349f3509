"""Affine registration by niimath's ``-allineate``.

https://github.com/rordenlab/niimath, after AFNI's 3dAllineate (Saad et al., NeuroImage 2009).
"""

import json
import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np

from stroke_nets.errors import UsageError
from stroke_nets.files import temporary_folder
from stroke_nets.registration.volume import Array, Volume, brain

FINEST_MM = 2  # of niimath's levels


def allineate(scan: Volume) -> Array:
    """Fit a scan to the template by an affine map.

    Samples are the template's voxels above 5 % of its range, so a skull is never compared with the
    template's empty surroundings. Angles within 30 degrees and sizes from 0.78 to 1.3 are searched.

    Args:
        scan: in canonical form.

    Returns:
        The map from the template's mm to the scan's mm, (4, 4).

    Raises:
        UsageError: niimath is missing or does not run on this machine.
    """
    template = brain(FINEST_MM)
    command = [_program(), "scan.nii", "-allineate", "template.nii", "-com"]
    command += ["-savemat", "map.json", "unused.nii"]
    with temporary_folder() as folder:
        _write(folder / "template.nii", Volume(1000 * template.voxels, template.affine))
        _write(folder / "scan.nii", scan)
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, cwd=folder, env=one_thread, capture_output=True, text=True)
        found = folder / "map.json"
        if not found.is_file():
            raise UsageError(
                f"niimath failed with code {ended.returncode} ({ended.stderr.strip()[-200:]}); "
                "reinstall it with: pip install --force-reinstall niimath"
            )
        return np.array(json.loads(found.read_text())["fixed_to_moving"], dtype=float)


def _program() -> str:
    """The program that the wheel of niimath carries."""
    try:
        from niimath import bin as program
    except ImportError as error:
        raise UsageError("niimath is not installed; run: pip install niimath") from error
    return str(program)


def _write(path: Path, volume: Volume) -> None:
    nib.save(nib.Nifti1Image(volume.voxels.astype(np.int16), volume.affine), path)
