"""What a prediction leaves behind: one folder of BIDS derivatives.

In ``OUT/sub-X[/ses-Y]/anat``, with the stem of the scan's name and the method's label::

    <stem>_desc-<method>_mask.nii.gz          0 and 1, uint8
    <stem>_desc-<method>_probseg.nii.gz       probability of lesion, in steps of 0.001
    <stem>_desc-<method>_uncertainty.nii.gz   standard deviation over flips or methods, if there are
    <stem>_desc-<method>_lesions.csv          one line for each lesion: `lesions.COLUMNS`
    <stem>_desc-<method>_seg.dcm              DICOM Segmentation, if the scan is DICOM
    <stem>_desc-<method>_sr.dcm               TID 1500 report, if it was asked for besides
    <stem>_desc-<method>_mask.seg.nrrd        or another of `formats.LIKE`, if it is asked for
    <stem>_desc-<method>_mask.json            the sidecar, written last: all the others are there

on the scan's own grid; then, from these files, the pages ``<stem>_desc-<method>_report.html`` and
``..._viewer.html``. A scan that was registered has besides, on the template's grid, what
``normalize`` writes and ``<stem>_space-MNI152NLin2009aSym_desc-<method>_mask.nii.gz``. This mask
and the probabilities have short sidecars with what BIDS asks for. With ``space="mni"`` the first
three and the sidecar are on the template's grid instead, and named so.

``OUT/summary.json``, ``OUT/index.html`` and ``OUT/dataset_description.json`` are of all cases
together.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel as nib
import numpy as np
import torch

import stroke_nets
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.lesions import CONNECTIVITY
from stroke_nets.files import is_hidden, staged, sweep_below, write_whole
from stroke_nets.inference.doubts import doubts
from stroke_nets.inference.inputs import ScanFile, spaceless
from stroke_nets.inference.lesion_table import as_csv, lesion_rows
from stroke_nets.inference.method import Found, Method
from stroke_nets.pages.prediction_case import MAPS, Volumes, require_types
from stroke_nets.registration.on_template import OnTemplate, template_grid
from stroke_nets.registration.picture import draw
from stroke_nets.registration.pipeline import MNI152, SPACE, Files
from stroke_nets.registration.transform import Transform, save
from stroke_nets.registration.volume import Array, Float32, brain
from stroke_nets.scans.contrast import DIFFUSION, SUFFIXES
from stroke_nets.scans.dicom import write_report, write_segmentation
from stroke_nets.scans.discovery import DESCRIPTION
from stroke_nets.scans.formats import LIKE, ending, write_like
from stroke_nets.scans.reader import Scan
from stroke_nets.scans.writer import HeaderWriter

DECIMALS = 3  # of probabilities: files compress, and the mask is exactly where they pass the limit
LEVEL = 0.9  # of intervals of the volume: ours
MANY = 5  # lesions that a warning names
NO_ADC = "no ADC map was given: what is bright in DWI by its T2 alone may be marked; give --adc"
NOTICE = "Research use only; not a medical device."
GENERATED_BY = [{"Name": "stroke-nets", "Version": stroke_nets.__version__}]
NOT_IN_BIDS = (  # https://github.com/bids-standard/bids-validator: .bidsignore
    *("/index.html", "/cohort.csv", "/ratings.tsv", "/group_*.tsv", "/summary.json"),
    *("*_report.html", "*_viewer.html", "*_thumbnail.jpg", "*_lesions.csv"),
    *("*_uncertainty.nii.gz", "*_transform.json", "*_qc.png", "*.dcm"),
    *sorted({f"*_mask{kind}" for kind in LIKE.values()}),
)
CODES = ("sform_code", "qform_code", "xyzt_units")
MNI_CODES = {"sform_code": MNI152, "qform_code": MNI152, "xyzt_units": 2}


def label(methods: Sequence[str]) -> str:
    """What ``desc-`` says: the method's name in letters and digits, or ``ensemble``."""
    return re.sub(r"[^a-zA-Z0-9]", "", methods[0]) if len(methods) == 1 else "ensemble"


class Names:
    """The files of one case.

    Args:
        out: the output folder.
        scan: the case.
        method: of `label`.
        mni: whether the results are named as on the template's grid.
    """

    def __init__(self, out: Path, scan: ScanFile, method: str, mni: bool) -> None:
        """Name them; nothing is written."""
        self.scan, self.folder = scan, out / scan.folder
        self.plain = f"{scan.stem}_desc-{method}"
        self.mni = f"{spaceless(scan.stem)}_space-{SPACE}_desc-{method}"
        self.wants_mni, self.stem = mni, self.mni if mni else self.plain
        self.sidecar = self.folder / f"{self.stem}_mask.json"
        self.report = self.folder / f"{self.stem}_report.html"

    def present(self) -> list[Path]:
        """Those of this method that are there already, in either space."""
        found = (self.folder.glob(f"{escape(stem)}_*") for stem in (self.plain, self.mni))
        return sorted(path for paths in found for path in paths)

    def retire(self, current: Iterable[str]) -> None:
        """Delete an older prediction's sidecar, pages and what the new one has not.

        The sidecar goes first: without it, nothing here counts as a prediction.
        """
        kept = {*current} - {self.sidecar.name}
        for path in sorted(self.present(), key=is_sidecar, reverse=True):
            if path.name not in kept:
                path.unlink()


def is_sidecar(path: Path) -> bool:
    """Whether a file is a prediction's sidecar, or damaged and perhaps one; by name and content."""
    if not path.name.endswith("_mask.json"):
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return True
    return not isinstance(content, dict) or "Request" in content


@dataclass(frozen=True)
class Results:
    """What was found in one scan, on its way to files.

    Attributes:
        names: of its files.
        scan: as it was opened.
        found: on the scan's grid.
        method: whose threshold and minimum size make the mask.
        report: write a DICOM report as well, if the scan is DICOM.
        like: write the mask in the scan's format as well.
    """

    names: Names
    scan: Scan
    found: Found
    method: Method
    report: bool = False
    like: bool = False

    @property
    def in_mni(self) -> bool:
        """Whether the files lie on the template's grid instead of the scan's."""
        return self.names.wants_mni and self.found.registration is not None

    def write(self, facts: dict[str, Any]) -> Volumes:
        """Write all files; the sidecar, last, names them.

        Args:
            facts: what else the sidecar says.

        Returns:
            What the report shows.
        """
        maps = {"probseg": self.found.probability}
        if self.found.deviation is not None:
            maps["uncertainty"] = self.found.deviation
        mask = self.method.mask(maps["probseg"], self.scan.grid.affine)
        native = {"mask": mask.numpy() > 0} | {k: rounded(v.numpy()) for k, v in maps.items()}
        rows = self._lesions(native)
        with staged(self.names.folder, order=is_sidecar) as folder:
            shown, files = self._write_volumes(folder, native)
            files["lesions"] = f"{self.names.stem}_lesions.csv"
            (folder / files["lesions"]).write_text(as_csv(rows), encoding="utf-8")
            facts = facts | self._facts(rows, files)
            lesions = facts["Lesions"]
            files |= self._write_like(folder, native["mask"])
            files |= self._write_dicom(folder, native["mask"], facts["Method"], lesions)
            lesions |= volume_interval(lesions["total_ml"], facts["Weights"])
            write_json(folder / self.names.sidecar.name, facts)
            self.names.retire(path.name for path in folder.iterdir())
        return shown

    def _lesions(self, native: dict[str, Any]) -> list[dict[str, Any]]:
        there = self.found.registration
        return lesion_rows(
            native["mask"],
            self.scan.grid,
            there.to_template if there else lambda points: points,
            native["probseg"],
            native.get("uncertainty"),
        )

    def _write_volumes(
        self, folder: Path, native: dict[str, Any]
    ) -> tuple[Volumes, dict[str, str]]:
        """Write masks and maps; what the report shows, and the files' names."""
        stem, registration = self.names.stem, self.found.registration
        shown, image, affine = native, self.scan.voxels, self.scan.grid.affine
        files: dict[str, str] = {}
        if registration is not None:
            files = self._write_registration(folder, registration)
            carried = self._on_template(registration, native if self.in_mni else {})
            if self.in_mni:
                shown, affine = carried, template_grid().affine
                image = registration.carry(np.asarray(image, np.float32), self.scan.grid.affine)
            else:
                name = f"{self.names.mni}_mask.nii.gz"
                write_volume(folder / name, carried["mask"], template_grid().affine, MNI_CODES)
                files["mask_mni"] = name
                about = {"Type": "Lesion"} | self._about(on_template=True)
                write_json(folder / f"{self.names.mni}_mask.json", about)
        codes = MNI_CODES if self.in_mni else header_codes(self.scan)
        for name, voxels in shown.items():
            files[name] = f"{stem}_{name}.nii.gz"
            write_volume(folder / files[name], voxels, affine, codes)
        write_json(folder / f"{stem}_probseg.json", self._about(self.in_mni))
        maps = {title: shown[name] for name, title in MAPS.items() if name in shown}
        return Volumes.ras(image, shown["mask"], maps, affine), files

    def _write_like(self, folder: Path, mask: Any) -> dict[str, str]:
        """Write the native mask in the scan's format, if it is asked for and not NIfTI."""
        kind = LIKE.get(ending(self.scan.path).lower())
        if not self.like or kind is None:
            return {}
        name = f"{self.names.stem}_mask{kind}"
        write_like(folder / name, mask, self.scan.grid.affine)
        return {"mask_like": name}

    def _write_dicom(
        self, folder: Path, mask: Any, method: str, lesions: dict[str, Any]
    ) -> dict[str, str]:
        """Write the native mask, and the report on it, beside a DICOM scan; the files' names."""
        if self.scan.series is None:
            return {}
        files = {"seg": f"{self.names.stem}_seg.dcm"}
        affine = self.scan.grid.affine
        made = write_segmentation(folder / files["seg"], self.scan.series, mask, affine, method)
        if self.report:
            files["sr"] = f"{self.names.stem}_sr.dcm"
            write_report(folder / files["sr"], self.scan.series, made, lesions)
        return files

    def _on_template(self, registration: OnTemplate, native: dict[str, Any]) -> dict[str, Any]:
        """The mask, and those of ``native`` that are maps, on the template's grid."""
        affine = self.scan.grid.affine
        chance = registration.carry(self.found.probability.numpy(), affine)
        mask = self.method.mask(torch.from_numpy(chance), template_grid().affine).numpy() > 0
        maps = {k: registration.carry(v, affine) for k, v in native.items() if k != "mask"}
        return {"mask": mask} | maps

    def _write_registration(self, folder: Path, there: OnTemplate) -> dict[str, str]:
        """Write the scan on the template's grid, the transform and the picture of both."""
        files = self._registration_files(folder)
        voxels = there.carry(np.asarray(self.scan.voxels, np.float32), self.scan.grid.affine)
        write_volume(files.image, voxels, template_grid().affine, MNI_CODES)
        save(
            files.transform,
            Transform(there.matrix),
            self.scan.image,
            there.quality,
            self.scan.digest,
        )
        draw(files.picture, brain(), voxels, self.scan.path.name)
        sidecar = {  # the key is required of a derivative's T1w; nothing is stripped here
            "SkullStripped": False,
            "Sources": self._sources,
        }
        write_json(files.image.with_name(files.image.name.replace(".nii.gz", ".json")), sidecar)
        return {
            "scan_mni": files.image.name,
            "transform": files.transform.name,
            "registration_picture": files.picture.name,
        }

    def _registration_files(self, folder: Path) -> Files:
        scan = self.names.scan
        return Files.of(self.scan.path, folder, spaceless(scan.stem), SUFFIXES[scan.contrast])

    @property
    def _sources(self) -> list[str]:
        """The scan and its ADC map, by BIDS URI if the scan has one and they lie together."""
        scan = self.names.scan
        source, beside = scan.uri or scan.source, scan.adc and scan.adc.parent == scan.path.parent
        if scan.adc is None:
            return [source]
        return [source, source[: -len(scan.path.name)] + scan.adc.name if beside else scan.adc.name]

    def _about(self, on_template: bool) -> dict[str, Any]:
        """What BIDS asks of each volume: what it was made of, and whose grid it has."""
        about: dict[str, Any] = {"Sources": self._sources}
        if on_template:
            image = self._registration_files(self.names.scan.folder).image
            return about | {"SpatialReference": f"bids::{image.as_posix()}"}
        about["SpatialReference"] = self.names.scan.uri or "orig"
        if "_res-" in self.names.stem:
            sizes = nib.affines.voxel_sizes(self.scan.grid.affine)
            about["Resolution"] = " x ".join(f"{size:.4g}" for size in sizes) + " mm, as the source"
        return about

    def _facts(self, rows: Sequence[dict[str, Any]], files: dict[str, str]) -> dict[str, Any]:
        there = self.found.registration
        native = "native" if there else "as given, taken for MNI"
        return {
            **self._about(self.in_mni),
            "Space": SPACE if self.in_mni else native,
            "Registered": there is not None,
            "Registration": there.quality if there else {},
            "Threshold": self.method.threshold,
            "MinimumSizeMl": self.method.minimum_ml,
            "Files": files,
            "Lesions": {
                "count": len(rows),
                "total_ml": round(sum(row["volume_ml"] for row in rows), 4),
                "largest_ml": rows[0]["volume_ml"] if rows else 0.0,
                "connectivity": CONNECTIVITY,
            },
            "Warnings": self._doubts() + border_warnings(rows),
        }

    def _doubts(self) -> list[str]:
        """What is doubtful about the scan, or missing."""
        file = self.names.scan
        found = doubts(self.scan, self.found.registration, file.contrast)
        return [*found, NO_ADC] if file.contrast == DIFFUSION and file.adc is None else found


def volume_interval(total_ml: float, weights: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The interval of the true volume, as measured on held-out patients (`Weights`).

    Args:
        total_ml: the mask's volume.
        weights: facts of the weights.

    Returns:
        Empty for an ensemble, for weights of which nothing was measured, and below the smallest
        volume that was.
    """
    ratios = weights[0].get("volume_ratio", []) if len(weights) == 1 else []
    measured = [one for one in ratios if one["from_ml"] <= total_ml]
    if not measured:
        return {}
    bounds = [round(ratio * total_ml, 1) for ratio in measured[-1]["ratio"]]
    return {"interval_ml": bounds, "interval_level": LEVEL}


def header_codes(scan: Scan) -> dict[str, int]:
    """Form codes and unit of length of a scan's header."""
    return {name: int(scan.image.header[name]) for name in CODES}


def border_warnings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line if lesions reach the volume's border, with their numbers in the table."""
    cut = [str(row["lesion"]) for row in rows if row["touches_border"]]
    if not cut:
        return []
    which = ", ".join(cut[:MANY]) + (f" and {len(cut) - MANY} more" if len(cut) > MANY else "")
    return [f"lesion {which}: touches the border of the volume and may be cut off"]


def write_volume(path: Path, voxels: Any, affine: Array, codes: dict[str, int]) -> None:
    """Write a mask (bool) or a map (float32) with the affine, form codes and units of a scan."""
    writer = HeaderWriter(np.uint8 if voxels.dtype == bool else np.float32)
    writer.set_data_array(voxels, channel_dim=None)
    writer.set_metadata({"affine": affine, **codes}, resample=False)
    writer.write(path)


def rounded(volume: Float32) -> Float32:
    """Probabilities as they are saved: cut, not rounded, so that none reaches the threshold."""
    steps = 10**DECIMALS
    return np.asarray(np.floor(np.clip(volume, 0, 1) * steps) / steps, np.float32)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def describe_folder(out: Path, scans: Sequence[ScanFile]) -> list[ScanFile]:
    """Write ``dataset_description.json`` and ``.bidsignore`` of a BIDS derivative, unless there.

    Returns:
        The scans; those of BIDS data sets with their URI, to whose data set ``DatasetLinks`` links
        by the way from ``out``.

    Raises:
        UsageError: the folder is a data set of another kind, or cannot be read.
        OSError: it cannot be written.
    """
    path = out / DESCRIPTION
    sweep_below(out)
    content: dict[str, Any] = {
        "Name": "Lesion masks predicted by stroke-nets",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": GENERATED_BY,
    }
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        content = content if before is None else before
        kind = content.get("DatasetType", "raw")
        if kind != "derivative":
            raise UsageError(f"{out}: a {kind} BIDS data set; give a folder of its own")
        links = dict(content.get("DatasetLinks", {}))
        linked = [_linked(scan, out, links) for scan in scans]
        content = content | ({"DatasetLinks": links} if links else {})
        out.mkdir(parents=True, exist_ok=True)
        if before is None:
            write_whole(out / ".bidsignore", "".join(f"{name}\n" for name in NOT_IN_BIDS))
        if content != before:
            write_json(path, content)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); fix the folder") from error
    return linked


def _linked(scan: ScanFile, out: Path, links: dict[str, str]) -> ScanFile:
    """A scan with its BIDS URI, if a data set holds it; that data set is added to the links."""
    if scan.data_set is None:
        return scan
    where = quote(os.path.relpath(scan.data_set.resolve(), out.resolve()))
    if where not in links.values():
        links[f"input{len(links) + 1 if links else ''}"] = where
    name = next(name for name, link in links.items() if link == where)
    inside = scan.path.absolute().relative_to(scan.data_set).as_posix()
    return replace(scan, uri=f"bids:{name}:{quote(inside)}")


def image_of(names: Names, scan: ScanFile) -> Path:
    """The scan whose grid the results lie on: itself, or what was registered of it."""
    registered = read_sidecar(names.sidecar)["Files"].get("scan_mni")
    return names.folder / registered if names.wants_mni and registered else scan.path


def read_sidecar(path: Path) -> dict[str, Any]:
    """What a prediction's sidecar says.

    Raises:
        DataError: the file cannot be read or is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["Request"], content["Files"]["mask"], content["Method"], content["Warnings"]
        content["Lesions"]["total_ml"], content["Lesions"]["count"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not a sidecar of 'stroke-nets predict' ({error})") from error
    require_types(path, content)
    return content


def sidecars(out: Path) -> list[Path]:
    """Those of predictions; not of other programs, nor what another process is writing."""
    found = (p for p in out.glob("sub-*/**/*_desc-*_mask.json") if not is_hidden(p, out))
    return sorted(path for path in found if is_sidecar(path))


def write_summary(out: Path, failed: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Write ``summary.json`` of all predictions in a folder, and those that failed just now."""
    cases = []
    for path in sidecars(out):
        content = read_sidecar(path)
        cases.append(
            {
                "sidecar": path.relative_to(out).as_posix(),
                "subject": path.relative_to(out).parts[0],
                "method": content["Method"],
                "lesions": content["Lesions"]["count"],
                "total_ml": content["Lesions"]["total_ml"],
                "warnings": content["Warnings"],
            }
        )
    summary = {"notice": NOTICE, "cases": cases, "failed": list(failed)}
    write_json(out / "summary.json", summary)
    return summary
