"""The simulated data sets of ``stroke-nets reproduce --scale bench``.

The patients are those of `stroke_nets.synthesis.t1w`, all with a lesion: brain only, 2 mm, in the
template's space. Each part of a set has its own anatomies and masks where a prepared folder of them
is given. Of a series of patients, those are kept that fill the thirds of `STRATA`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from stroke_nets.datasets import manifest
from stroke_nets.errors import UsageError
from stroke_nets.progress import track
from stroke_nets.synthesis.data_set import LICENCE, MNI152
from stroke_nets.synthesis.t1w import Habit, Sources, make_patient, read_sources
from stroke_nets.synthesis.t1w.lesion_shapes import VOXEL_ML
from stroke_nets.transforms.brain_box import AFFINE

RECIPE = 1  # raise it when a change alters any patient's voxels
PARTS = {  # split of the manifest: part of the sources
    "train": "train",
    "validation": "validate",
    "test": "report",
    "unlabelled": "train",
}
STRATA = (1.0, 20.0)  # ml of lesion in all: a third of a part lies below, between, above
LESIONED = Habit(healthy=0)  # as in ATLAS: no scan without a lesion
Volume = NDArray[Any]


@dataclass(frozen=True)
class Patient:
    """A patient who was kept: number in the series, image (X, Y, Z) and mask (X, Y, Z)."""

    index: int
    image: Volume
    mask: Volume


def write(out: Path, *, seed: int, parts: Mapping[str, int], sources: Path | None = None) -> Path:
    """Write the patients of all parts and their manifest, which comes last.

    Args:
        out: the data root.
        seed: same seed and sources, same patients.
        parts: number of patients by split, keys of `PARTS`.
        sources: folder that `stroke_nets.synthesis.t1w.prepare` wrote; None for the template and
            drawn lesions.

    Returns:
        The manifest.

    Raises:
        UsageError: there is no such part.
        DataError: the sources were not prepared.
    """
    if unknown := sorted(parts.keys() - PARTS.keys()):
        raise UsageError(f"part {unknown[0]}: choose among {', '.join(PARTS)}")
    read = {part: read_sources(sources, PARTS[part]) for part in parts}
    records = [
        _write(out, part, patient)
        for part, count in parts.items()
        for patient in track(chosen(_series(seed, part), count, read[part]), part, count)
    ]
    path = out / manifest.MANIFEST
    provenance = {"recipe": RECIPE, "seed": seed, "parts": dict(parts)}
    provenance |= {"sources": "the template and drawn lesions" if sources is None else sources.name}
    manifest.write(path, name="bench", licence=LICENCE, records=records, provenance=provenance)
    return path


def _series(seed: int, part: str) -> int:
    """The seed of a part's series of patients."""
    return seed * len(PARTS) + list(PARTS).index(part)


def chosen(series: int, count: int, sources: Sources) -> Iterator[Patient]:
    """The first patients of a series that fill the thirds of `STRATA`, the last ones fullest.

    Args:
        series: seed of the series.
        count: number of patients.
        sources: anatomies and masks.
    """
    thirds = len(STRATA) + 1
    room = [(count + k) // thirds for k in range(thirds)]
    index = 0
    while any(room):
        image, mask = make_patient(series, index, sources, LESIONED)
        ml = float(mask.sum()) * VOXEL_ML
        third = int(np.searchsorted(STRATA, ml, side="right"))
        if ml > 0 and room[third]:
            room[third] -= 1
            yield Patient(index, image.numpy(), mask.numpy().astype(np.uint8))
        index += 1


def _write(out: Path, part: str, patient: Patient) -> dict[str, Any]:
    """Write a patient and return the record of the manifest."""
    subject = f"sub-{part}{patient.index:04d}"
    volumes = {"T1w": patient.image}
    volumes |= {} if part == "unlabelled" else {"mask": patient.mask}
    (out / subject / "anat").mkdir(parents=True, exist_ok=True)
    files = {name: f"{subject}/anat/{subject}_{name}.nii.gz" for name in volumes}
    for name, voxels in volumes.items():
        image = nib.Nifti1Image(voxels, AFFINE)
        image.set_sform(AFFINE, MNI152)
        image.set_qform(AFFINE, MNI152)
        image.header.set_xyzt_units("mm")
        nib.save(image, out / files[name])
    record = manifest.describe(out, subject=subject, image=files["T1w"], label=files.get("mask"))
    return record | {"split": part}
