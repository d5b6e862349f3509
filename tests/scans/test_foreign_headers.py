"""Headers that a stranger wrote: other files, numbers and sizes than the file's own (row X5)."""

import gzip
import os
import zlib

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.scans.dicom_series import is_dicom
from stroke_nets.scans.reader import read_scan

VOXELS = bytes(range(64))  # 4 x 4 x 4
NRRD = {
    "type": "uint8",
    "dimension": "3",
    "sizes": "4 4 4",
    "encoding": "raw",
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,1,0) (0,0,1)",
    "space origin": "(0,0,0)",
}
SEGMENT = {"Segment0_LabelValue": "1", "Segment0_Name": "lesion", "Segment0_Layer": "0"}
GRID = "Reference image geometry|1;0;0;0;0;1;0;0;0;0;1;0;0;0;0;1;0;{0};0;{0};0;{0};|"
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "ElementSpacing": "1 1 1",
    "DimSize": "4 4 4",
    "ElementType": "MET_UCHAR",
    "ElementDataFile": "LOCAL",
}


def nrrd(voxels=VOXELS, **fields):
    lines = [f"{key}: {value}" for key, value in (NRRD | fields).items()]
    return "\n".join(["NRRD0004", *lines, "\n"]).encode() + voxels


def meta(voxels=VOXELS, without="", **fields):
    changed = META | fields
    changed["ElementDataFile"] = changed.pop("ElementDataFile")  # it ends the header
    lines = [f"{key} = {value}\n" for key, value in changed.items() if key != without]
    return "".join(lines).encode() + voxels


@pytest.fixture
def refused(tmp_path):
    (tmp_path / "other.raw").write_bytes(VOXELS)
    folder = tmp_path / "scans"
    folder.mkdir()

    def read(name, content):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError) as raised:
            read_scan(folder / name)
        text = str(raised.value)
        assert text.startswith(str(folder / name))
        assert text.isprintable()
        return text

    return read


def test_whole_ones_are_read(tmp_path):
    contents = {"a.nrrd": nrrd(), "a.mha": meta()}
    packed = zlib.compress(VOXELS)
    size = str(len(packed))
    contents["b.mha"] = meta(packed, CompressedData="True", CompressedDataSize=size)
    contents["b.nrrd"] = nrrd(gzip.compress(VOXELS), encoding="gzip")
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert read_scan(tmp_path / name).voxels.ravel("F").tolist() == list(VOXELS)


@pytest.mark.parametrize("key", ["data file", "datafile", "line skip"])
def test_X5_nrrd_with_voxels_in_another_file_is_refused(refused, key):
    value = "9" if key == "line skip" else "../other.raw"
    assert "lie elsewhere" in refused("a.nrrd", nrrd(b"", **{key: value}))


@pytest.mark.parametrize(
    "name", ["../other.raw", "/other.raw", "..", ".", "", "LIST", "a%d.raw 1 4"]
)
def test_X5_metaimage_with_voxels_in_another_folder_is_refused(refused, name):
    assert "missing beside it" in refused("a.mha", meta(b"", ElementDataFile=name))


@pytest.mark.parametrize(
    "comment", ["ElementDataFile = LOCAL", "ElementDataFile", "a\rElementDataFile = LOCAL"]
)
def test_X5_metaimage_is_read_as_itk_reads_it(refused, comment):
    """The first line with that key counts, not the first place of the word."""
    content = meta(ElementDataFile="../other.raw")
    content = content.replace(b"NDims", f"Comment = {comment}\nNDims".encode())
    text = refused("a.mha", content)
    assert "missing beside it" in text or "no list of fields" in text


PACKED = zlib.compress(VOXELS)
BOMB = zlib.compress(bytes(1 << 20))
MGH = nib.freesurfer.MGHImage(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_bytes()
LARGE = {
    "a.nrrd": nrrd(sizes="100000 100000 100000"),
    "b.nrrd": nrrd(sizes="4294967296 4294967296 1"),
    "c.nrrd": nrrd(gzip.compress(bytes(1 << 20)), encoding="gzip"),
    "d.nrrd": nrrd(VOXELS * 2),
    "e.seg.nrrd": nrrd(**SEGMENT, Segmentation_ConversionParameters=GRID.format(100_000)),
    "f.mha": meta(DimSize="4294967296 4294967296 1"),
    "g.mha": meta(BOMB, CompressedData="True", CompressedDataSize=len(BOMB)),
    "h.mgz": gzip.compress(MGH + bytes(1 << 22)),
}


@pytest.mark.parametrize("name", LARGE)
def test_X5_more_than_a_header_announces_or_a_file_can_hold_is_refused(refused, name):
    assert any(word in refused(name, LARGE[name]) for word in ("announces", "drawn on a grid"))


OTHER = {
    "one axis less": nrrd(**{"space origin": "(0,0)"}),
    "a negative axis": nrrd(sizes="-4 -4 4"),
    "no header": b"\n",
    "a value that is no number": nrrd(**SEGMENT | {"Segment0_LabelValue": "x"}),
    "a layer that is not there": nrrd(**SEGMENT | {"Segment0_Layer": "7"}),
    "a grid of words": nrrd(**SEGMENT, Segmentation_ConversionParameters=GRID.format("x")),
    "an endless grid": nrrd(**SEGMENT, Segmentation_ConversionParameters=GRID.format("1e300")),
    "control characters": nrrd(
        **SEGMENT | {"Segment0_Name": "a\x1b[2J", "Segment1_LabelValue": "1"}
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_X5_nrrd_of_other_values_is_one_line(refused, what):
    refused("a.seg.nrrd", OTHER[what])


@pytest.mark.parametrize(
    "key",
    [
        "NDims",
        "BinaryData",
        "TransformMatrix",
        "Offset",
        "ElementSpacing",
        "DimSize",
        "ElementType",
        "ElementDataFile",
    ],
)
def test_X5_metaimage_that_lacks_a_field_is_refused(refused, key):
    refused("a.mha", meta(without=key))


@pytest.mark.parametrize(
    "fields",
    [
        {"NDims": "99"},
        {"NDims": "2"},
        {"DimSize": "8 8"},
        {"BinaryData": "False"},
        {"HeaderSize": "10"},
        {"ElementType": "MET_UCHAR_ARRAY"},
        {"ElementSpacing": "nan 1 1"},
        {"Comment": "x" * 500},
        {"Comment": "\xe9"},
    ],
)
def test_X5_metaimage_of_which_itk_would_take_other_bytes_is_refused(refused, fields):
    refused("a.mha", meta(**fields))


def test_X5_compressed_metaimage_needs_its_size(refused):
    """Without it, ITK 5.4 gives memory of the process for voxels."""
    assert "CompressedDataSize" in refused("a.mha", meta(PACKED, CompressedData="True"))
    content = meta(PACKED, CompressedData="T", CompressedDataSize="3")
    assert "CompressedDataSize" in refused("b.mha", content)


def test_X5_a_pipe_is_not_waited_for(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "a.dcm"):
        os.mkfifo(tmp_path / name)
        assert not is_dicom(tmp_path / name)
        with pytest.raises(DataError, match="a device or pipe, not a file"):
            read_scan(tmp_path / name)
