#!/usr/bin/env bash
# highdicom cannot refer to a segment of a Segmentation that it made itself, if it has only one.
#
# Guess: hd.sr.ReferencedSegment.from_segmentation(seg, segment_number=1) works on any Segmentation
#   that hd.seg.Segmentation makes.
# Behaviour: with two segments it does. With one, hd.seg.Segmentation puts the segment's number into
#   the shared functional groups, from_segmentation looks for it in each frame only, and raises
#   "AttributeError: 'Dataset' object has no attribute 'SegmentIdentificationSequence'".
# Versions: highdicom 0.28.2, pydicom 3.0.2, numpy 2.4.6; Linux x86-64.
# Why it matters: one segment (a lesion, a tumour) with one volume is the commonest TID 1500 report.
#   Use the constructor: ReferencedSegment(class_uid, instance_uid, 1, source_series=...).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" PYTHONWARNINGS=ignore
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
python3 - <<'PYTHON'
import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

study, series, frame = generate_uid(), generate_uid(), generate_uid()
images = []
for z in range(4):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
    image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 1, z + 1
    image.PatientName = image.PatientID = "A^B"
    image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
    image.AccessionNumber = image.StudyID = image.ReferringPhysicianName = ""
    image.SliceThickness, image.PixelSpacing, image.Rows, image.Columns = 2, [1, 1], 8, 8
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2 * z], [1, 0, 0, 0, 1, 0]
    images.append(image)


def refer(count):
    """Make a Segmentation of ``count`` segments and refer to its first."""
    kind = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    segments = [hd.seg.SegmentDescription(n + 1, f"s{n}", *kind, "MANUAL") for n in range(count)]
    voxels = np.zeros((4, 8, 8, count), np.uint8)
    for n in range(count):
        voxels[1, n, n, n] = 1
    made = hd.seg.Segmentation(
        images, voxels, "BINARY", segments, hd.UID(), 2, hd.UID(), 1, "x", "x", "1", "1"
    )
    try:
        hd.sr.ReferencedSegment.from_segmentation(made, segment_number=1)
    except AttributeError as error:
        return f"AttributeError: {error}"
    return "works"


print("highdicom", hd.__version__)
one, two = refer(1), refer(2)
print("one segment: ", one)
print("two segments:", two)
assert "SegmentIdentificationSequence" in one and two == "works"
print("confirmed: from_segmentation fails on highdicom's own Segmentation of one segment")
PYTHON
