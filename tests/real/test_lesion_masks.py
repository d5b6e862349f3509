"""Real lesion masks as the source of simulated lesions."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.synthesis.head import head
from stroke_nets.synthesis.masks import bring_mask, mask_files

DATA = Path(os.environ.get("STROKE_NETS_REAL_DATA", "real data that is not there"))


@pytest.mark.real
@pytest.mark.parametrize(("folder", "count"), [("soop_masks", 160), ("lesymap", 40)])
def test_masks_lie_in_the_templates_brain(folder, count):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not in STROKE_NETS_REAL_DATA")
    files = mask_files(DATA / folder)
    assert len(files) == count
    kept = []
    for path in files[::20]:
        image = nib.load(path)
        volume = np.count_nonzero(image.get_fdata() > 0) * abs(np.linalg.det(image.affine[:3, :3]))
        here, mirrored = (bring_mask(path, mirrored=flag) for flag in (False, True))
        kept.append(here.sum() / volume)
        left = [side[: round(head().middle)].sum() / side.sum() for side in (here, mirrored)]
        assert left[0] == pytest.approx(1 - left[1], abs=0.05)  # the midline's own voxels
    assert np.median(kept) > 0.9  # all but what lies outside of another brain's outline
