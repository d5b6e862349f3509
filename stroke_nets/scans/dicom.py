"""DICOM in, DICOM out: a series becomes a scan, and its mask a Segmentation and a report.

The Segmentation (DICOM PS3.3, A.51) is BINARY and uncompressed and has a frame for each slice of
the series, empty ones included: SimpleITK and dcm2niix misplace the slices of any other silently.
The report follows template TID 1500 (PS3.16). Both carry the patient and study of the series.
Made by highdicom (https://highdicom.readthedocs.io, 0.28).
"""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

import stroke_nets
from stroke_nets.errors import UsageError
from stroke_nets.files import whole
from stroke_nets.scans.dicom_series import RAS, Series, is_series, without_warnings
from stroke_nets.scans.reader import open_scan

NAME = "stroke-nets"
SEGMENT = "Stroke lesion"
SEG_NUMBER, SR_NUMBER = 9001, 9002  # ours: series numbers beyond those of a scanner
RED = (53.2, 80.1, 67.2)  # CIELab of pure red


def from_dicom(series: Path, out: Path, overwrite: bool = False) -> Path:
    """Convert a DICOM series to NIfTI.

    Args:
        series: folder, at any depth, or zip archive; of several series the T1w is taken, see
            `dicom_series.choose`. It is only read.
        out: file to write, ``*.nii.gz``.
        overwrite: replace an existing file.

    Returns:
        ``out``, a single volume in mm.

    Raises:
        UsageError: dcm2niix or the folder is missing, or the file cannot be written.
        DataError: there is no series or several, slices are missing, or it is not a single volume.
    """
    if not series.exists():
        raise UsageError(f"{series}: no such folder; give the folder of one DICOM series")
    if not out.name.endswith(".nii.gz"):
        raise UsageError(f"{out}: the scan to write must end in .nii.gz; rename it")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; give another name, or --overwrite")
    if not is_series(series):
        raise UsageError(f"{series}: no DICOM file in it; give the folder of a series")
    content = open_scan(series).to_bytes()
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0))
    return out


@without_warnings()
def write_segmentation(
    path: Path, series: Series, mask: NDArray[Any], affine: NDArray[Any], method: str
) -> Any:
    """Write a mask as DICOM Segmentation.

    Args:
        path: file to write, ``*.dcm``.
        series: the scan's.
        mask: X x Y x Z, bool, on the scan's grid.
        affine: the mask's, to RAS mm.
        method: what made it, for the series' description.

    Returns:
        The data set that was written.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    seg = hd.seg
    segment = seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"{NAME} {method}"[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=stroke_nets.__version__,
        ),
        anatomic_regions=[codes.SCT.Brain],
        tracking_uid=hd.UID(),
        tracking_id=SEGMENT,
        display_color=hd.color.CIELabColor(*RED),
    )
    written = seg.Segmentation(
        source_images=list(series.headers),
        pixel_array=_frames(series, mask, affine),
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=SEG_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        omit_empty_frames=False,
        content_label="LESION",
        series_description=f"{SEGMENT}, {NAME} {method}: research use only"[:64],
        manufacturer=NAME,
        manufacturer_model_name=method,
        software_versions=stroke_nets.__version__,
        device_serial_number="none",
    )
    written.save_as(path)
    return written


@without_warnings()
def write_report(path: Path, series: Series, segmentation: Any, lesions: Mapping[str, Any]) -> None:
    """Write a TID 1500 report with the volumes of a Segmentation.

    Args:
        path: file to write, ``*.dcm``.
        series: the scan's.
        segmentation: of `write_segmentation`.
        lesions: ``count``, ``total_ml`` and ``largest_ml``.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    sr = hd.sr
    ml = Code("mL", "UCUM", "milliliter")
    found = [
        sr.Measurement(codes.SCT.Volume, lesions["total_ml"], ml, derivation=codes.SCT.Total),
        sr.Measurement(codes.SCT.Volume, lesions["largest_ml"], ml, derivation=codes.SCT.Maximum),
        sr.Measurement(
            Code("246205007", "SCT", "Quantity"),
            lesions["count"],
            Code("{lesions}", "UCUM", "lesions"),
        ),
    ]
    described = segmentation.SegmentSequence[0]
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(described.TrackingUID, described.TrackingID),
        referenced_segment=sr.ReferencedSegment(  # from_segmentation fails for a single segment
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=sr.SourceSeriesForSegmentation(series.headers[0].SeriesInstanceUID),
        ),
        finding_type=codes.SCT.Lesion,
        finding_sites=[sr.FindingSite(codes.SCT.Brain)],
        measurements=found,
    )
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=NAME, manufacturer_name=NAME, model_name=NAME
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=Code("816077007", "SCT", "Magnetic resonance imaging of brain"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    sr.EnhancedSR(
        evidence=[*series.headers, segmentation],
        content=report[0],
        series_instance_uid=hd.UID(),
        series_number=SR_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=NAME,
        is_complete=True,
        series_description=f"{SEGMENT} volumes, {NAME}: research use only",
    ).save_as(path)


def _frames(series: Series, mask: NDArray[Any], affine: NDArray[Any]) -> NDArray[np.uint8]:
    """The mask as the series' frames, in the order of its files: S x rows x columns."""
    turn = ornt_transform(io_orientation(affine), io_orientation(series.grid.affine))
    turned = apply_orientation(mask, turn)
    inverse = np.linalg.inv(series.grid.affine) @ RAS
    places = nib.affines.apply_affine(inverse, series.planes[:, 0])
    slices = np.rint(places[:, 2]).astype(int)
    return np.ascontiguousarray(turned.transpose(2, 1, 0)[slices], np.uint8)
