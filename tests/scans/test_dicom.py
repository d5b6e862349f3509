"""A DICOM series that the test writes becomes a scan in its place, or is refused."""

import gzip

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.inputs import find_scans
from stroke_nets.scans.dicom import WORDS, from_dicom, is_dicom

SHAPE = (20, 24, 12)  # columns, rows, slices
SPACING = (1.2, 1.5, 2.0)  # mm
ROTATION = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.2, 1, 0.1], [0.1, -0.1, 1]]))[0]
ROTATION = ROTATION * np.sign(np.diag(ROTATION))
ORIGIN = np.array([-10.0, 5.0, 20.0])  # of the first voxel, in LPS
VOXELS = np.random.default_rng(0).integers(1, 900, SHAPE, dtype=np.uint16)


def write_series(folder, number=1, left_out=()):
    """A tilted classic MR series, a file for each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    for z in set(range(SHAPE[2])) - set(left_out):
        one = pydicom.Dataset()
        one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3", uid
        one.FrameOfReferenceUID, one.Modality, one.Manufacturer = "1.2.4", "MR", "SIEMENS"
        one.PatientName, one.PatientID = "Doe^Jane", "4711"
        one.StudyDate, one.AcquisitionTime, one.AcquisitionDate = "20200102", "101112", "20200102"
        one.SeriesNumber, one.InstanceNumber = number, z + 1
        one.SeriesDescription = one.ProtocolName = "t1_mprage"
        one.MRAcquisitionType, one.ImageComments = "3D", "Jane Doe"
        one.EchoTime, one.RepetitionTime = 3, 2000
        one.ImagePositionPatient = [*(ORIGIN + ROTATION[:, 2] * SPACING[2] * z)]
        one.ImageOrientationPatient = [*ROTATION[:, 0], *ROTATION[:, 1]]
        one.PixelSpacing, one.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        one.Columns, one.Rows = SHAPE[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelData = np.ascontiguousarray(VOXELS[:, :, z].T).tobytes()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.save_as(folder / f"{number}_{z}.dcm", enforce_file_format=True)


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
