"""The tiny simulated data sets of ``stroke-nets reproduce --scale demo``.

The patients are the plain ones of `stroke_nets.synthesis`. Every `step`-th voxel along each axis is
kept, without smoothing, so that masks stay masks; lesions of fewer than ``step ** 3`` voxels may
vanish. Some patients come without a mask, for self-training.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from stroke_nets import synthesis as simulate
from stroke_nets.datasets import manifest
from stroke_nets.synthesis.data_set import LICENCE, RECIPE

PLAIN = simulate.Design(plain=True)  # quick to learn


def write(
    out: Path, *, seed: int, patients: int, unlabelled: int = 0, step: int = 4, folds: int = 2
) -> Path:
    """Write patients, thinned, and their manifest, which comes last.

    Args:
        out: the data root.
        seed: same seed, same patients.
        patients: with a mask.
        unlabelled: more patients, without one.
        step: keep every `step`-th voxel along each axis.
        folds: size-balanced folds of the manifest.

    Returns:
        The manifest.
    """
    thin = (slice(None, None, step),) * 3
    affine = simulate.template().affine @ np.diag([step, step, step, 1])
    records: list[dict[str, Any]] = []
    for index in range(1, patients + unlabelled + 1):
        volumes: dict[str, Any] = dict(
            zip(("T1w", "mask"), simulate.simulate_patient(seed, index, PLAIN), strict=True)
        )
        if index > patients:
            del volumes["mask"]
        subject = f"sub-sim{index:04d}"
        (out / subject / "anat").mkdir(parents=True, exist_ok=True)
        files = {name: f"{subject}/anat/{subject}_{name}.nii.gz" for name in volumes}
        for name, voxels in volumes.items():
            nib.save(nib.Nifti1Image(voxels[thin], affine), out / files[name])
        record = manifest.describe(
            out, subject=subject, image=files["T1w"], label=files.get("mask")
        )
        records.append(record | ({} if "mask" in files else {"split": "unlabelled"}))
    manifest.deal_folds(records[:patients], folds, seed)
    path = out / manifest.MANIFEST
    provenance = {"seed": seed, "step": step, "recipe": RECIPE}
    manifest.write(path, name="rehearsal", licence=LICENCE, records=records, provenance=provenance)
    return path
