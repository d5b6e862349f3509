import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.inference import doubts
from stroke_nets.registration.on_template import OnTemplate
from stroke_nets.registration.volume import brain, dilated
from stroke_nets.scans.reader import Scan


@pytest.fixture
def small(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((10, 10, 10), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    return Scan(tmp_path / "scan.nii.gz")


def test_L11_a_scan_that_was_not_registered_is_looked_at(tmp_path):
    template = brain()
    inverted = ((template.voxels > 0) - 0.8 * template.voxels).astype(np.float32)
    head = np.where(dilated(template, 16.0) & ~dilated(template, 6.0), 0.7, template.voxels)
    images = {"right": head, "stripped": template.voxels, "inverted": inverted}
    for name, voxels in images.items():
        image = nib.Nifti1Image(voxels.astype(np.float32), template.affine)
        nib.save(image, tmp_path / f"{name}.nii")
    assert doubts.doubts(Scan(tmp_path / "right.nii"), None) == []
    (told,) = doubts.doubts(Scan(tmp_path / "stripped.nii"), None)
    assert "it is skull-stripped" in told
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


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8000 * 1024),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": ""}, 8000 * 1024),
        (
            {
                "memory.max": "4000000",
                "memory.current": "3000000",
                "memory.stat": "active_file 300000\ninactive_file 200000\n",
            },
            1500000,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "4000000",
                "memory/memory.usage_in_bytes": "3999999",
                "memory/memory.stat": "total_active_file 0\ntotal_inactive_file 1\n",
            },
            2,
        ),
    ],
)
def test_S3_memory_is_that_of_the_container(files, free, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    for name, content in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert doubts.free_memory(tmp_path) == free
