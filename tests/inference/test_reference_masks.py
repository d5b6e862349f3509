"""A scan on the grid of ATLAS v2.0 has the mask of an earlier build, to the voxel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from stroke_nets.inference.method import Method
from stroke_nets.inference.weights import choose
from stroke_nets.registration.volume import brain
from stroke_nets.scans.reader import Scan

# with the shipped weights on one thread: overlay, commit of the code, least voxels (1 mm)
MASKS = {
    "agmr_net": ("whole_brain", "529f5d8", 30_000),
    "mscsa_default": ("narrow", "83b0283", 10_000),
}
REFERENCE = Path(__file__).parents[1] / "reference" / "masks"
BALLS = {(35.0, -15, 15): 18, (-28.0, 25, 20): 9}  # dark: centre in MNI mm, radius


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The template with two dark balls."""
    template = brain()
    voxels = template.voxels.copy()
    places = np.moveaxis(np.indices(voxels.shape), 0, -1) + template.affine[:3, 3]
    for centre, radius in BALLS.items():
        voxels[np.linalg.norm(places - centre, axis=-1) < radius] *= 0.3
    path = tmp_path_factory.mktemp("reference") / "sub-1_T1w.nii"
    nib.save(nib.Nifti1Image(voxels, template.affine), path)
    return Scan(path)


@pytest.mark.parametrize("bundle", MASKS)
def test_a_scan_on_the_template_has_the_mask_of_before(bundle, scan):
    overlay, commit, least = MASKS[bundle]
    method = Method(choose([bundle], overlay=overlay)[0], torch.device("cpu"))
    found = method.find(scan)
    assert found.registration is None
    with np.load(REFERENCE / f"{commit}.npz") as masks:
        bits = np.unpackbits(masks[bundle])[: np.prod(scan.grid.shape)]
    before = bits.reshape(scan.grid.shape)
    assert before.sum() > least
    np.testing.assert_array_equal(method.mask(found.probability, scan.grid.affine), before)
