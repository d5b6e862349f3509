import multiprocessing
import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.scans.reader import is_nifti, open_scan
from stroke_nets.scans.writer import HeaderWriter

from . import scans


def write(path, mask=None, **header):
    writer = HeaderWriter(np.uint8)
    writer.set_data_array(scans.mask() if mask is None else mask, channel_dim=None)
    writer.set_metadata({"affine": scans.affine(), **header}, resample=False)
    writer.write(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_equal_masks_are_equal_bytes(tmp_path, name):
    write(tmp_path / name)
    first = (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(open_scan(tmp_path / name).get_fdata(), scans.mask())
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def _die_half_way(path):
    write_bytes = Path.write_bytes

    def half(self, content):
        write_bytes(self, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    Path.write_bytes = half
    write(path, 1 - scans.mask())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child uses no threads
def test_I2_a_killed_write_leaves_the_mask_that_was_there(tmp_path):
    path = tmp_path / "a.nii.gz"
    write(path)
    before = path.read_bytes()
    child = multiprocessing.get_context("fork").Process(target=_die_half_way, args=(path,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert path.read_bytes() == before
    left = [other for other in tmp_path.iterdir() if other != path]
    assert len(left) == 1  # half a file, which nobody takes for a mask
    assert not is_nifti(left[0])


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_P1_nothing_of_the_scans_header_text_is_saved(tmp_path):
    texts = {
        "descrip": "DOE^JOHN",
        "db_name": "MRN123456",
        "aux_file": "/home/x",
        "intent_name": "y",
    }
    write(tmp_path / "a.nii.gz", **texts)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert {header[name].item() for name in texts} == {b""}
    assert not header.extensions


@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 8, 7), (9, 1, 7), (9, 1, 1), (1, 1, 1)], ids=str)
def test_a_single_slice_keeps_its_axes(tmp_path, shape):
    voxels = np.random.default_rng(0).integers(0, 2, shape)
    write(tmp_path / "a.nii.gz", voxels)
    written = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(written.dataobj, voxels)
    np.testing.assert_allclose(written.affine, scans.affine(), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "kept"), [((7, 9), (1, 1)), ((-1, 1), (0, 1)), ((9, 0), (1, 0)), ((5, 4), (5, 4))]
)
def test_form_codes_are_such_as_nibabel_reads(tmp_path, given, kept):
    write(tmp_path / "a.nii.gz", sform_code=given[0], qform_code=given[1])
    written = nib.load(tmp_path / "a.nii.gz")
    assert (written.header["sform_code"], written.header["qform_code"]) == kept
    np.testing.assert_allclose(written.affine, scans.affine(), atol=1e-6)


@pytest.mark.parametrize("axes", ["LIA", "PSR", "ASL", "SPL", "IRP"])
def test_straight_orders_are_kept(tmp_path, axes):
    image = nib.Nifti1Image(scans.mask(), scans.affine())
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    turned = image.as_reoriented(turn)
    writer = HeaderWriter(np.uint8)
    writer.set_data_array(np.asarray(turned.dataobj), channel_dim=None)
    writer.set_metadata({"affine": turned.affine}, resample=False)
    writer.write(tmp_path / "a.nii.gz")
    back = nib.as_closest_canonical(nib.load(tmp_path / "a.nii.gz"))
    wanted = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(back.dataobj, wanted.dataobj)
    np.testing.assert_allclose(back.affine, wanted.affine, atol=1e-5)
