import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.inference import space
from stroke_nets.inference.inputs import Scan
from stroke_nets.registration.pipeline import Files
from stroke_nets.registration.transform import Transform, save
from stroke_nets.registration.volume import brain


@pytest.fixture(scope="module")
def template():
    return brain()


def test_what_lies_on_the_template_is_taken_as_it_is(template, tmp_path):
    path = tmp_path / "sub-1_T1w.nii.gz"
    flipped = nib.Nifti1Image((template.voxels * 200).astype(np.uint8)[::-1], None)
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = template.voxels.shape[0] - 1
    flipped.set_sform(template.affine @ turn, 4)
    nib.save(flipped, path)
    placed = space.place(Scan(path, path.name, "sub-1"), tmp_path / "out", template)
    assert placed.image == path
    assert placed.transform is None
    assert placed.warnings == []
    assert placed.quality["information"] > 1
    assert placed.codes["sform_code"] == 4
    points = np.ones((3, 2))
    assert placed.to_template(points) is points


def test_a_registration_that_was_stopped_before_its_image_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "sub-1_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
    files = Files.of(path, tmp_path, "sub-1")
    save(files.transform, Transform(np.eye(4)), nib.load(path), {}, space.sha256(path))

    def normalize(scan, folder, stem):
        assert not files.transform.exists()
        raise DataError("registered")

    monkeypatch.setattr(space, "normalize", normalize)
    with pytest.raises(DataError, match="registered"):
        space._register(Scan(path, path.name, "sub-1"), tmp_path, None, overwrite=False)


def test_a_scan_that_would_not_fit_into_memory_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "sub-1_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((10, 10, 10), np.int16), np.eye(4)), path)
    space.require_memory(path, registered=True)
    monkeypatch.setattr(space, "free_memory", lambda: 1000 * space.BYTES - 1)
    with pytest.raises(DataError, match=r"sub-1_T1w.nii.gz: .* are free; resample it to 1 mm"):
        space.require_memory(path, registered=True)


def test_free_memory_is_some():
    assert 1e8 < space.free_memory() < 1e14
