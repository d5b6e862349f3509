"""Write DICOM series by pydicom: classic MR, a file for each slice, or one enhanced file."""

import numpy as np
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

SHAPE = (21, 24, 12)  # columns, rows, slices
SPACING = (1.2, 1.5, 2.0)  # mm
ROTATION = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.2, 1, 0.1], [0.1, -0.1, 1]]))[0]
ROTATION = ROTATION * np.sign(np.diag(ROTATION))
ORIGIN = np.array([-10.0, 5.0, 20.0])  # of the first voxel, in LPS
VOXELS = np.random.default_rng(0).integers(1, 900, SHAPE, dtype=np.uint16)
LPS = np.eye(4)
LPS[:3, :3], LPS[:3, 3] = ROTATION * SPACING, ORIGIN
PERSONAL = ("Doe-Smythe", "P-4711", "General Hospital", "101112", "19500101", "20200102")
STUDY, FRAME = generate_uid(), generate_uid()


def write_series(
    folder, number=1, *, voxels=VOXELS, lps=LPS, left_out=(), places=None, description="t1_mprage"
):
    """A series with a file for each slice; ``places`` are multiples of the slice spacing."""
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for z in set(range(voxels.shape[2])) - set(left_out):
        image = _image(MRImageStorage, voxels, lps, number, description)
        image.SeriesInstanceUID, image.InstanceNumber = series, z + 1
        place = lps[:3, 3] + lps[:3, 2] * (places[z] if places else z)
        image.ImagePositionPatient = _texts(place)
        image.ImageOrientationPatient = _texts(_turn(lps))
        image.PixelSpacing, image.SliceThickness = _measures(lps)
        image.PixelData = voxels[:, :, z].T.tobytes()
        image.save_as(folder / f"{number}_{z}.dcm", enforce_file_format=True)


def write_enhanced(folder):
    """The same volume as one multi-frame file."""
    folder.mkdir(parents=True, exist_ok=True)
    image = _image(EnhancedMRImageStorage, VOXELS, LPS, 1, "t1_mprage")
    image.SeriesInstanceUID, image.InstanceNumber = generate_uid(), 1
    image.NumberOfFrames = VOXELS.shape[2]
    image.PixelData = b"".join(VOXELS[:, :, z].T.tobytes() for z in range(VOXELS.shape[2]))
    shared, turn, measures = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = _texts(_turn(LPS))
    measures.PixelSpacing, measures.SliceThickness = _measures(LPS)
    shared.PlaneOrientationSequence = Sequence([turn])
    shared.PixelMeasuresSequence = Sequence([measures])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for z in range(VOXELS.shape[2]):
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = _texts(ORIGIN + LPS[:3, 2] * z)
        content.StackID, content.InStackPositionNumber = "1", z + 1
        content.DimensionIndexValues = [1, z + 1]
        frame.PlanePositionSequence = Sequence([place])
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    image.save_as(folder / "enhanced.dcm", enforce_file_format=True)


def _image(kind, voxels, lps, number, description):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(kind)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.FrameOfReferenceUID, image.StudyID = STUDY, FRAME, "1"
    image.PatientName, image.PatientID, image.PatientSex = "Doe-Smythe", "P-4711", "F"
    image.PatientBirthDate, image.InstitutionName = "19500101", "General Hospital"
    image.StudyDate = image.SeriesDate = image.ContentDate = "20200102"
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = "101112"
    image.AccessionNumber = image.ReferringPhysicianName = ""
    image.Modality, image.Manufacturer, image.MRAcquisitionType = "MR", "SIEMENS", "3D"
    image.SeriesDescription = image.ProtocolName = description
    image.ImageComments = "Jane Doe"
    image.SeriesNumber, image.RepetitionTime, image.EchoTime = number, 2000, 3
    image.Columns, image.Rows = voxels.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    return image


def _texts(values):
    return [f"{value:.9g}" for value in values]


def _turn(lps):
    axes = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    return [*axes[:, 0], *axes[:, 1]]


def _measures(lps):
    right, down, thick = np.linalg.norm(lps[:3, :3], axis=0)
    return _texts([down, right]), f"{thick:.9g}"
