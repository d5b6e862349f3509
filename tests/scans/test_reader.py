"""Rows F1 to F21: what the strict reader refuses, and with which words."""

import getpass
import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.scans import reader
from stroke_nets.scans.check import check
from stroke_nets.scans.finding import Refusal
from stroke_nets.scans.reader import open_scan, sha256

from .scans import SHAPE, affine, edit, save, voxels

NEED = 352 + 2 * np.prod(SHAPE)  # bytes: header and int16 voxels


def refused(path, row, *words, **options):
    """Opening the file is refused by the row, in one line that names it."""
    with pytest.raises(Refusal) as caught:
        open_scan(path, **options)
    line = str(caught.value)
    assert caught.value.finding.row == row, line
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    for word in words:
        assert word in line
    return line


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_F1_truncated_gzip(tmp_path, percent):
    noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", noise)
    cut(path, path.stat().st_size * percent // 100)
    refused(path, "F1", "cut short", "16352 bytes", "again")


def test_F2_truncated_nifti(tmp_path):
    path = save(tmp_path / "a.nii")
    cut(path, NEED - 1)
    refused(path, "F2", f"{NEED - 1} of {NEED} bytes")


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_F3_gzip_without_its_end(tmp_path, lost):
    path = save(tmp_path / "a.nii.gz")
    cut(path, path.stat().st_size - lost)
    refused(path, "F3", "end of the stream")


@pytest.mark.parametrize("byte", [-8, -1])  # of the checksum, of the length
def test_F4_wrong_gzip_trailer(tmp_path, byte):
    path = save(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
    refused(path, "F4", "check")


def test_F5_any_flipped_byte_of_a_gzip_is_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    content = path.read_bytes()
    for byte in range(10, len(content), 7):  # the first ten hold time and name flags
        path.write_bytes(content[:byte] + bytes([content[byte] ^ 0x10]) + content[byte + 1 :])
        with pytest.raises(Refusal, match=r"a\.nii\.gz: "):
            open_scan(path)


def test_F6_flipped_bit_differs_from_the_manifests_checksum(tmp_path):
    path = save(tmp_path / "a.nii")
    checksum = sha256(path)
    open_scan(path, sha256=checksum)
    content = bytearray(path.read_bytes())
    content[NEED - 5] ^= 1
    path.write_bytes(content)
    refused(path, "D9", "SHA-256", sha256=checksum)


def test_F7_garbage_after_gzip(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    content = path.read_bytes()
    path.write_bytes(content + b"garbage")
    refused(path, "F7", "7 bytes")
    path.write_bytes(content + bytes(512))
    np.testing.assert_array_equal(open_scan(path).dataobj, voxels())


def test_F7_garbage_after_the_voxels(tmp_path):
    path = save(tmp_path / "a.nii")
    content = path.read_bytes()
    for name, extra in (("b.nii", b"more"), ("b.nii.gz", b"more"), ("c.nii.gz", bytes(1 << 20))):
        bad = tmp_path / name
        bad.write_bytes(gzip.compress(content + extra) if name.endswith("gz") else content + extra)
        refused(bad, "F7", "header")


def test_gzip_of_several_members_is_read(tmp_path):
    content = save(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    np.testing.assert_array_equal(open_scan(path).dataobj, voxels())


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_F8_empty_file(tmp_path, name):
    path = tmp_path / name
    path.touch()
    refused(path, "F8", "0 bytes")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("content", "word", "command"),
    [
        (b"<!DOCTYPE html><html>404", "web page", "download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs", "git lfs pull"),
        (b"../../.git/annex/objects/Zx/w/MD5E-s4/MD5E-s4.nii.gz", "git-annex", "datalad get"),
    ],
)
def test_F9_what_lies_there_instead(tmp_path, name, content, word, command):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, "F9", word, command)


def test_F9_annexed_link(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.symlink_to("../.git/annex/objects/0/MD5E-s4.nii.gz")
    refused(path, "F9", "datalad get a.nii.gz")


def test_F9_W7_a_link_into_a_data_set_of_datalad_names_the_data_set(tmp_path):
    path = tmp_path / "prepared" / "sub-1_T1w.nii.gz"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "source" / ".git/annex/objects/0/MD5E-s4.nii.gz")
    refused(path, "F9", f"run 'datalad get .' in {tmp_path / 'source'}")


def test_F9_W7_a_companion_file_of_macos_is_named(tmp_path):
    path = tmp_path / "._sub-1_T1w.nii.gz"
    path.write_bytes(b"\0\5\x16\7" + bytes(100))
    refused(path, "F9", "what macOS keeps beside a scan", "give sub-1_T1w.nii.gz")


def test_F10_plain_nifti_named_gz(tmp_path):
    path = save(tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    refused(path, "F10", "rename it to a.nii")


def test_F11_gzip_named_nii(tmp_path):
    path = save(tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    refused(path, "F11", "rename it to a.nii.gz")


def test_F12_nothing_to_read(tmp_path):
    refused(tmp_path / "a.nii", "F12", "no such file")
    (tmp_path / "b.nii").mkdir()
    refused(tmp_path / "b.nii", "F12", "folder")
    (tmp_path / "c.nii").symlink_to(tmp_path / "gone.nii")
    refused(tmp_path / "c.nii", "F12", "gone.nii")


def test_F13_no_extension(tmp_path):
    path = save(tmp_path / "a.nii").rename(tmp_path / "a")
    refused(path, "F13", ".nii.gz, .nii, .voi")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_F14_huge_header_is_refused_before_allocating(tmp_path, name):
    path = save(tmp_path / "a.nii", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    if name.endswith("gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    refused(path, "F14", "(32767, 32767, 32767)", str(352 + 2 * 32767**3))


@pytest.mark.parametrize("size", [0, -3])
def test_F15_impossible_dimension(tmp_path, size):
    path = save(tmp_path / "a.nii", dim=[3, 6, size, 8, 1, 1, 1, 1])
    refused(path, "F15", str(size))


@pytest.mark.parametrize("offset", [5000.0, 0.0, np.nan])
def test_F16_voxels_start_outside_the_file(tmp_path, offset):
    refused(save(tmp_path / "a.nii", vox_offset=offset), "F16", f"byte {offset:g}")


@pytest.mark.parametrize("magic", [b"n+3", b"ni1", b"\0\0\0"])
def test_F17_bad_magic(tmp_path, magic):
    refused(save(tmp_path / "a.nii", magic=magic), "F17")


@pytest.mark.parametrize(
    ("code", "name"),
    [(128, "RGB"), (2304, "RGBA"), (32, "complex64"), (1536, "float128"), (7, "7")],
)
def test_F18_voxels_that_are_not_one_number(tmp_path, code, name):
    refused(save(tmp_path / "a.nii", datatype=code), "F18", name)


@pytest.mark.parametrize("name", ["a scan.nii", "läsion 病变.nii.gz", 'it\'s "one".nii.gz'])
def test_F19_any_path(tmp_path, name):
    np.testing.assert_array_equal(open_scan(save(tmp_path / name)).dataobj, voxels())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_F20_both_versions_and_byte_orders(tmp_path, kind, order):
    image = kind(voxels(), affine())
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(kind(voxels(), affine(), header), tmp_path / "a.nii.gz")
    found = open_scan(tmp_path / "a.nii.gz")
    assert np.asanyarray(found.dataobj).dtype == np.dtype(np.int16)  # in this machine's order
    np.testing.assert_array_equal(found.dataobj, voxels())
    np.testing.assert_array_equal(found.affine, image.affine)


def test_F21_permission_denied(tmp_path):
    path = save(tmp_path / "a.nii")
    path.chmod(0)
    was = os.geteuid()
    try:
        if was == 0:
            os.seteuid(65534)  # root may read everything
        refused(path, "F21", getpass.getuser())
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
def test_voxels_and_header_are_nibabels(tmp_path, dtype):
    path = save(tmp_path / "a.nii.gz", voxels(dtype=dtype))
    scaled = nib.load(path)
    scaled.header.set_slope_inter(2.5, -1)
    nib.save(nib.Nifti1Image(scaled.dataobj, scaled.affine, scaled.header), tmp_path / "s.nii.gz")
    for file in (path, tmp_path / "s.nii.gz"):
        expected, found = nib.load(file), open_scan(file)
        a, b = np.asanyarray(expected.dataobj), np.asanyarray(found.dataobj)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(expected.affine, found.affine)
        assert b.flags.writeable


def test_unusable_scaling_is_refused(tmp_path):
    refused(save(tmp_path / "a.nii", scl_slope=2, scl_inter=np.inf), "F17", "scaling")


def test_one_file_is_checked_as_an_image(tmp_path):
    path = save(tmp_path / "a.nii")
    assert check(path) == []
    edit(path, magic=b"bad")
    assert [f.row for f in check(path)] == ["F17"]


def test_F14_R10_a_scan_that_would_not_fit_into_memory_is_refused_undecoded(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz")
    monkeypatch.setattr(reader, "free_memory", lambda: 500)
    monkeypatch.setattr(reader, "_inflate", None)
    refused(path, "F14", "GB of memory")
