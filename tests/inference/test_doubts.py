import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.inference import doubts
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.volume import brain
from stroke_nets.scans.reader import Scan


@pytest.fixture
def small(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((10, 10, 10), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    return Scan(tmp_path / "scan.nii.gz")


def test_a_scan_that_was_not_registered_is_looked_at(tmp_path):
    template = brain()
    inverted = ((template.voxels > 0) - 0.8 * template.voxels).astype(np.float32)
    for name, voxels in (("right", template.voxels), ("inverted", inverted)):
        nib.save(nib.Nifti1Image(voxels, template.affine), tmp_path / f"{name}.nii")
    assert doubts.doubts(Scan(tmp_path / "right.nii"), None) == []
    told = doubts.doubts(Scan(tmp_path / "inverted.nii"), None)
    assert "contrast is not T1w" in " ".join(told)


def test_the_registrations_own_doubts_are_told(small):
    there = OnTemplate(np.eye(4), {"correlation": 0.9}, ["it is upside down"])
    assert doubts.doubts(small, there)[0] == "it is upside down"


def test_a_scan_that_would_not_fit_into_memory_is_refused_undecoded(small, monkeypatch):
    doubts.require_memory(small, registered=True)
    monkeypatch.setattr(doubts, "free_memory", lambda: 1000 * doubts.BYTES - 1)
    with pytest.raises(DataError, match=r"scan.nii.gz: .* are free; resample it to 1 mm"):
        doubts.require_memory(small, registered=True)


def test_free_memory_is_some():
    assert 1e8 < doubts.free_memory() < 1e14
