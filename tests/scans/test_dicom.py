"""A DICOM series that the test writes becomes a scan in its place, or is refused."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.inputs import find_scans
from stroke_nets.scans.dicom import WORDS, from_dicom, is_dicom

MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"  # storage, transfer syntax
SHAPE = (20, 24, 12)  # columns, rows, slices
SPACING = (1.2, 1.5, 2.0)  # mm
ROTATION = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.2, 1, 0.1], [0.1, -0.1, 1]]))[0]
ROTATION = ROTATION * np.sign(np.diag(ROTATION))
ORIGIN = np.array([-10.0, 5.0, 20.0])  # of the first voxel, in LPS
VOXELS = np.random.default_rng(0).integers(1, 900, SHAPE, dtype=np.uint16)


def element(group, number, kind, value):
    """A data element, explicit VR, little endian (DICOM PS3.5, 7.1.2); lists of numbers as text."""
    if kind == "US":
        value = struct.pack("<H", value)
    elif not isinstance(value, bytes):
        parts = value if isinstance(value, list) else [value]
        value = "\\".join(f"{one:.9g}" if isinstance(one, float) else str(one) for one in parts)
        value = value.encode()
    value += (b"\0" if kind in ("UI", "OW") else b" ") * (len(value) % 2)
    long = kind in ("OB", "OW")
    size = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + size + value


def write_series(folder, number=1, left_out=()):
    """A tilted classic MR series, a file for each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    for z in set(range(SHAPE[2])) - set(left_out):
        place = [*(ORIGIN + ROTATION[:, 2] * SPACING[2] * z)]
        uid = f"1.2.3.{number}.{z + 1}"
        head = [(2, 1, "OB", b"\0\1"), (2, 2, "UI", MR), (2, 3, "UI", uid), (2, 16, "UI", EXPLICIT)]
        meta = b"".join(element(*one) for one in head)
        size = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
        data = [
            *((8, 0x16, "UI", MR), (8, 0x18, "UI", uid)),
            *((8, 0x20, "DA", "20200102"), (8, 0x22, "DA", "20200102"), (8, 0x32, "TM", "101112")),
            *((8, 0x60, "CS", "MR"), (8, 0x70, "LO", "SIEMENS"), (8, 0x103E, "LO", "t1_mprage")),
            *((0x10, 0x10, "PN", "Doe^Jane"), (0x10, 0x20, "LO", "4711")),
            *((0x18, 0x23, "CS", "3D"), (0x18, 0x50, "DS", SPACING[2])),
            *((0x18, 0x80, "DS", 2000), (0x18, 0x81, "DS", 3), (0x18, 0x1030, "LO", "t1_mprage")),
            *((0x20, 0x0D, "UI", "1.2.3"), (0x20, 0x0E, "UI", f"1.2.3.{number}")),
            *((0x20, 0x11, "IS", number), (0x20, 0x13, "IS", z + 1), (0x20, 0x32, "DS", place)),
            (0x20, 0x37, "DS", [*ROTATION[:, 0], *ROTATION[:, 1]]),
            *((0x20, 0x52, "UI", "1.2.4"), (0x20, 0x4000, "LT", "Jane Doe")),
            *((0x28, 2, "US", 1), (0x28, 4, "CS", "MONOCHROME2")),
            *((0x28, 0x10, "US", SHAPE[1]), (0x28, 0x11, "US", SHAPE[0])),
            (0x28, 0x30, "DS", [SPACING[1], SPACING[0]]),
            *((0x28, 0x100, "US", 16), (0x28, 0x101, "US", 12), (0x28, 0x102, "US", 11)),
            *((0x28, 0x103, "US", 0), (0x7FE0, 0x10, "OW", VOXELS[:, :, z].T.tobytes())),
        ]
        content = bytes(128) + b"DICM" + size + meta + b"".join(element(*one) for one in data)
        (folder / f"{number}_{z}.dcm").write_bytes(content)


def test_a_series_becomes_a_scan_in_its_place_without_words(tmp_path):
    write_series(tmp_path / "series")
    out = from_dicom(tmp_path / "series", tmp_path / "new" / "sub-1_T1w.nii.gz")
    scan = nib.load(out)
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = ROTATION * SPACING, ORIGIN
    corners = np.array([(0, 0, 0, 1), (19, 0, 0, 1), (0, 23, 0, 1), (0, 0, 11, 1), (7, 5, 3, 1)])
    found = np.asanyarray(scan.dataobj)
    world = corners @ (np.diag([-1, -1, 1, 1]) @ lps).T
    index = np.rint(world @ np.linalg.inv(scan.affine).T).astype(int)
    np.testing.assert_allclose(index @ scan.affine.T, world, atol=1e-3)
    assert [found[*one[:3]] for one in index] == [VOXELS[*one[:3]] for one in corners]
    assert not any(scan.header[word].item() for word in WORDS)
    assert b"Doe" not in gzip.decompress(out.read_bytes())
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name]


def test_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path / "series", left_out=(5,))
    with pytest.raises(DataError, match="slices are missing or unevenly spaced"):
        from_dicom(tmp_path / "series", tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_two_series_are_named(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / "series", number)
    with pytest.raises(DataError, match=r"2 scans \(1_t1_mprage, 2_t1_mprage\)"):
        from_dicom(tmp_path / "series", tmp_path / "x.nii.gz")


def test_what_cannot_be_converted_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.nii.gz").touch()
    for series, out, error, message in (
        ("empty", "x.nii.gz", DataError, "give the folder of one DICOM series"),
        ("none", "x.nii.gz", UsageError, "no such folder"),
        ("empty", "x.nii", UsageError, r"must end in \.nii\.gz"),
        ("empty", "there.nii.gz", UsageError, "--overwrite"),
    ):
        with pytest.raises(error, match=message):
            from_dicom(tmp_path / series, tmp_path / out)


def test_predict_names_the_way_to_convert_dicom(tmp_path):
    write_series(tmp_path / "series")
    assert not is_dicom(tmp_path / "series")
    with pytest.raises(UsageError, match="DICOM; convert it first: stroke-nets from-dicom"):
        find_scans(tmp_path / "series", tmp_path / "out")
