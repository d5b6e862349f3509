"""One simulated data set, thinned to a few thousand voxels, that every test shares."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.data import manifest, simulate

PLAIN = simulate.Design(plain=True)  # quick to make, brain only
STEP = (4, 4, 16)  # keeps every 4th, 4th and 16th voxel: 50 x 59 x 12 voxels of 4 x 4 x 16 mm


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """Four simulated patients as BIDS, with a manifest of two folds."""
    root = tmp_path_factory.mktemp("simulated")
    affine = simulate.template().affine @ np.diag([*STEP, 1])
    thin = tuple(slice(None, None, step) for step in STEP)
    for index in range(1, 5):
        folder = root / f"sub-{index}" / "anat"
        folder.mkdir(parents=True)
        patient = simulate.simulate_patient(0, index, PLAIN)
        for name, voxels in zip(("T1w", "mask"), patient, strict=True):
            nib.save(nib.Nifti1Image(voxels[thin], affine), folder / f"sub-{index}_{name}.nii.gz")
    manifest.from_folder(
        root, image="**/*_T1w.nii.gz", label="_mask.nii.gz", out=root / "manifest.json", folds=2
    )
    return root
