"""A DICOM series that the test writes becomes a scan in its place, or is refused."""

import gzip
import os
import shutil
import stat
import subprocess
import zipfile

import dcm2niix
import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian

from stroke_nets.errors import DataError, UsageError
from stroke_nets.scans.dicom import from_dicom, write_report, write_segmentation
from stroke_nets.scans.dicom_series import RAS, WORDS, is_dicom, read_series
from stroke_nets.scans.reader import Scan, read_scan
from tests.scans.dicom_files import LPS, PERSONAL, SHAPE, VOXELS, write_enhanced, write_series

CORNERS = np.array([(0, 0, 0), (20, 0, 0), (0, 23, 0), (0, 0, 11), (7, 5, 3)])
MASK = np.zeros(VOXELS.shape, bool)
MASK[3:7, 4:9, 3:6] = MASK[12, 3, 8] = MASK[0, 0, 0] = MASK[2, 20, 11] = True


def world(lps, index):
    return nib.affines.apply_affine(RAS @ lps, index)


def voxels_at(image, places):
    """The values at places in mm, which must be centres of voxels to 1e-3 mm."""
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), places)).astype(int)
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, index), places, atol=1e-3)
    return np.asanyarray(image.dataobj)[tuple(index.T)]


@pytest.mark.parametrize("write", [write_series, write_enhanced])
def test_a_series_becomes_a_scan_in_its_place_without_words(tmp_path, write):
    write(tmp_path / "series")
    out = from_dicom(tmp_path / "series", tmp_path / "new" / "sub-1_T1w.nii.gz")
    scan = nib.load(out)
    values = voxels_at(scan, world(LPS, CORNERS))
    assert values.tolist() == [VOXELS[tuple(index)] for index in CORNERS]
    assert not any(scan.header[word].item() for word in WORDS)
    content = gzip.decompress(out.read_bytes())
    assert not any(word.encode() in content for word in PERSONAL)
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name]


def test_a_zip_archive_is_read_as_its_folder(tmp_path):
    write_series(tmp_path / "series" / "deeper")
    archive = shutil.make_archive(tmp_path / "study", "zip", tmp_path / "series")
    assert Scan(archive).digest == Scan(tmp_path / "series").digest


def test_F22_a_broken_archive_is_refused(tmp_path):
    for name, content in (("a.zip", b"PK\3\4 no archive"), ("b.zip", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a whole zip archive"):
            Scan(tmp_path / name)


@pytest.mark.parametrize(
    ("faulty", "what"),
    [
        ({"left_out": (5,)}, "missing or unevenly spaced.*2 mm apart, but 2 to 4 mm"),
        ({"places": [*range(6), 6.3, *range(7, 12)]}, "missing or unevenly spaced"),
        ({"places": [*range(6), *range(6)]}, "several images lie in one place"),
        ({"left_out": range(1, 12)}, "a single slice"),
    ],
)
def test_F23_slices_that_are_no_regular_volume_are_refused(tmp_path, faulty, what):
    write_series(tmp_path / "series", **faulty)
    with pytest.raises(DataError, match=what):
        from_dicom(tmp_path / "series", tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_F22_of_several_series_the_t1w_is_taken_and_said(tmp_path):
    for number, (description, count) in enumerate(
        [("localizer", 3), ("t2_tse", 12), ("t1_se_tra", 6), ("T1 MPRAGE", 12), ("t1_flair", 12)]
    ):
        write_series(tmp_path, number, left_out=range(count, 12), description=description)
    scan = read_scan(tmp_path)
    assert scan.series.number == "3"
    assert scan.grid.shape[2] == 12
    assert [str(one) for one in scan.notices if one.row == "F22"] == [
        f"{tmp_path}: series 3 of 5 series is used: T1w by its description; give the folder of "
        "another series if that is wrong"
    ]


def test_F22_series_that_none_is_chosen_of_are_named(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / "equal", number)
        write_series(tmp_path / "neither", number, description="t2_flair")
    for folder, what in (
        ("equal", r"2 of its 2 series may be the T1w: 1 \(12 slices\), 2 \(12 slices\)"),
        ("neither", r"none of its 2 series may be the T1w: 1 \(12 slices\), 2 \(12 slices\)"),
    ):
        with pytest.raises(DataError, match=what):
            from_dicom(tmp_path / folder, tmp_path / "x.nii.gz")


def test_what_cannot_be_converted_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.nii.gz").touch()
    for series, out, error, message in (
        ("empty", "x.nii.gz", UsageError, "no DICOM file in it"),
        ("none", "x.nii.gz", UsageError, "no such folder"),
        ("empty", "x.nii", UsageError, r"must end in \.nii\.gz"),
        ("empty", "there.nii.gz", UsageError, "--overwrite"),
    ):
        with pytest.raises(error, match=message):
            from_dicom(tmp_path / series, tmp_path / out)
    assert not is_dicom(tmp_path / "empty")


def written(folder, write, voxels):
    """A scan, its mask (``voxels`` of the DICOM's own grid) and the Segmentation of it."""
    write(folder / "series")
    scan = read_scan(folder / "series")
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(RAS @ LPS), nib.io_orientation(scan.grid.affine)
    )
    mask = nib.orientations.apply_orientation(voxels, turn)
    made = write_segmentation(
        folder / "seg.dcm", scan.series, mask, scan.grid.affine, "mscsa_default"
    )
    return scan, mask, made


@pytest.mark.parametrize("voxels", [MASK, np.zeros_like(MASK)], ids=["lesion", "empty"])
@pytest.mark.parametrize("write", [write_series, write_enhanced])
def test_a_segmentation_equals_the_mask_voxel_for_voxel(tmp_path, write, voxels):
    scan, mask, _ = written(tmp_path, write, voxels)
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    volume = read.get_volume(segment_numbers=[1])
    image = nib.Nifti1Image(volume.array[..., 0], RAS @ volume.affine)
    places = nib.affines.apply_affine(scan.grid.affine, np.argwhere(np.ones_like(mask)))
    np.testing.assert_array_equal(voxels_at(image, places), mask.ravel())
    assert read.NumberOfFrames == mask.shape[2]
    sources = {one.SOPInstanceUID for one in scan.series.headers}
    named = read.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in named} == sources
    assert (read.PatientID, read.StudyInstanceUID) == (
        "P-4711",
        scan.series.headers[0].StudyInstanceUID,
    )


def by_simpleitk(path):
    image = sitk.ReadImage(str(path))
    direction = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = RAS @ nib.affines.from_matvec(direction, image.GetOrigin())
    return nib.Nifti1Image(sitk.GetArrayFromImage(image).T, affine)


def by_dcm2niix(path):
    (path.parent / "alone").mkdir()
    shutil.copy(path, path.parent / "alone")
    command = [dcm2niix.bin, "-b", "n", "-f", "seg", "-o", str(path.parent)]
    subprocess.run([*command, str(path.parent / "alone")], check=True, capture_output=True)
    return nib.load(path.parent / "seg.nii")


@pytest.mark.parametrize("read", [by_simpleitk, by_dcm2niix])
def test_other_readers_place_the_segmentation_as_the_mask(tmp_path, read):
    scan, mask, _ = written(tmp_path, write_series, MASK)
    places = nib.affines.apply_affine(scan.grid.affine, np.argwhere(np.ones_like(mask)))
    found = voxels_at(read(tmp_path / "seg.dcm"), places)
    np.testing.assert_array_equal(found > 0, mask.ravel())


def test_a_report_holds_the_volumes_and_refers_to_the_segmentation(tmp_path):
    scan, _, made = written(tmp_path, write_series, MASK)
    lesions = {"count": 4, "total_ml": 0.2268, "largest_ml": 0.216}
    write_report(tmp_path / "sr.dcm", scan.series, made, lesions)
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert [(one.name.meaning, one.value, one.unit.value) for one in group.get_measurements()] == [
        ("Volume", 0.2268, "mL"),
        ("Volume", 0.216, "mL"),
        ("Quantity", 4, "{lesions}"),
    ]
    assert group.referenced_segment.referenced_sop_instance_uid == made.SOPInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {one.SeriesInstanceUID for one in evidence}
    assert named == {scan.series.headers[0].SeriesInstanceUID, made.SeriesInstanceUID}
    assert pydicom.dcmread(tmp_path / "sr.dcm").PatientID == "P-4711"


def changed(folder, change):
    for path in folder.glob("*.dcm"):
        header = pydicom.dcmread(path)
        change(header)
        header.save_as(path, enforce_file_format=True)


STRANGE = {
    "no series": lambda h: delattr(h, "SeriesInstanceUID"),
    "no spacing": lambda h: delattr(h, "PixelSpacing"),
    "no columns": lambda h: delattr(h, "Columns"),
    "one spacing": lambda h: setattr(h, "PixelSpacing", "1.0"),
    "three spacings": lambda h: setattr(h, "PixelSpacing", ["1", "1", "1"]),
    "endless frames": lambda h: setattr(h, "NumberOfFrames", 300_000_000),
    "compressed headers": lambda h: setattr(
        h.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_X5_headers_of_no_series_are_one_line(tmp_path, what):
    write_series(tmp_path)
    changed(tmp_path, STRANGE[what])
    with pytest.raises(DataError, match=r"(export|copy or download) it again$") as raised:
        read_series(tmp_path)
    assert "\n" not in str(raised.value)


def test_X5_a_zip_that_grows_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "extractall", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match="announces 1 files"):
        read_series(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_X5_a_damaged_zip_is_one_line(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a", bytes(range(256)) * 9)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[45:70] = b"\xff" * 25
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="not a whole zip archive"):
        read_series(tmp_path / "a.zip")


def test_X5_a_zip_writes_only_into_its_own_folder(tmp_path):
    write_series(tmp_path / "series")
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "series").iterdir():
            archive.write(path, f"../{path.name}")
        archive.writestr(link, str(tmp_path))
    assert read_series(tmp_path / "a.zip")[1].grid.shape == SHAPE
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "series"]
