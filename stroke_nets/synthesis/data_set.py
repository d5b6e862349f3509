"""Write simulated patients to a folder, laid out as ATLAS v2.0's training derivatives."""

import functools
import json
from pathlib import Path
from typing import Any

import nibabel as nib
from numpy.typing import NDArray

import stroke_nets
from stroke_nets.datasets import manifest
from stroke_nets.datasets.folds import size_balanced
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import sweep_below, whole, write_whole
from stroke_nets.progress import track
from stroke_nets.registration.template import TEMPLATE, template
from stroke_nets.runs.processes import in_processes
from stroke_nets.scans.reader import read_scan
from stroke_nets.synthesis.masks import mask_files
from stroke_nets.synthesis.patient import Design, lesion_source, simulate_patient

RECIPE = 2  # raise it when a change alters any patient's voxels, so that old folders are refused
NAME = "Simulated chronic-stroke patients"
LICENCE = (
    "Derived from the ICBM 152 template, Copyright (C) 1993-2009 Louis Collins, McConnell Brain "
    "Imaging Centre, Montreal Neurological Institute, McGill University: use, copy, modify and "
    "distribute for any purpose and without fee, keeping this notice"
)
MNI152 = 4  # NIfTI-1 sform and qform code of MNI space


def simulate(
    out: Path,
    subjects: int,
    seed: int,
    workers: int = 2,
    folds: int = 5,
    design: Design | None = None,
) -> Path:
    """Write a data set laid out as ATLAS v2.0's training derivatives.

    Complete patients that ``out`` already holds are kept, so an interrupted run can be continued
    and a data set can be extended by asking for more subjects.

    Args:
        out: folder to write; created if it does not exist.
        subjects: number of patients.
        seed: seed of the data set.
        workers: number of processes; 1 uses only this one. The result does not depend on it.
        folds: cross-validation folds, balanced by lesion volume; patients whose lesions come from
            the same real mask share a fold.
        design: the kind of patients; ``Design()`` if None.

    Returns:
        The manifest, ``out/manifest.json``.

    Raises:
        UsageError: a number is out of range, or ``out`` holds anything other than a simulated data
            set of the same seed, design and recipe with at most ``subjects`` patients.
    """
    asked = {"subjects": subjects, "seed": seed, "workers": workers, "folds": folds}
    for name, least in {"subjects": 1, "seed": 0, "workers": 1, "folds": 2}.items():
        if asked[name] < least:
            raise UsageError(f"{name} is {asked[name]}: give {least} or more")
    design = design or Design()
    if design.masks is not None:
        mask_files(design.masks)
    _claim(out, _generator(subjects, seed, design))
    records = _make_all(out, subjects, seed, workers, design)
    deal_by_source(records, folds, seed)
    write_whole(out / "participants.tsv", _participants(records))
    provenance = {
        "command": f"stroke-nets simulate OUT --subjects {subjects} --seed {seed} --folds {folds}"
        + _options(design),
        "template": TEMPLATE,
        "recipe": RECIPE,
        "version": stroke_nets.__version__,
    }
    path = out / manifest.MANIFEST
    manifest.write(path, name="simulated", licence=LICENCE, records=records, provenance=provenance)
    return path


def _claim(out: Path, wanted: dict[str, Any]) -> None:
    """Write ``dataset_description.json``, or refuse a folder that holds something else."""
    description = out / "dataset_description.json"
    advice = "choose another folder or delete it"
    sweep_below(out)
    if description.exists():
        held = _recipe(description)
        same = ("Seed", "Recipe", "Design")
        if held is None or [held[k] for k in same] != [wanted[k] for k in same]:
            asked = f"seed {wanted['Seed']}, {wanted['Design'] or 'default'} design"
            raise UsageError(f"{out} holds another data set than {asked}: {advice}")
        if held["Subjects"] > wanted["Subjects"]:
            found = f"{held['Subjects']} patients, not {wanted['Subjects']}"
            raise UsageError(f"{out} holds {found}: {advice}")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds something other than a simulated data set: {advice}")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(description, json.dumps(_description(wanted), indent=2) + "\n")


def _recipe(description: Path) -> dict[str, Any] | None:
    """What ``_description`` recorded; None if another program wrote the file."""
    try:
        recipe = json.loads(description.read_text(encoding="utf-8"))["GeneratedBy"][0]
        return recipe if {"Seed", "Recipe", "Design", "Subjects"} <= recipe.keys() else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _options(design: Design) -> str:
    """The command-line options that produce a design; empty for the default one."""
    chosen = {
        " --plain": design.plain,
        " --no-skull": not design.skull,
        f" --contrast {design.contrast}": design.contrast != "t1w",
        f" --masks {design.masks and design.masks.name}": design.masks is not None,
        f" --bend {design.bend}": design.bend != 1,
    }
    return "".join(option for option, asked in chosen.items() if asked)


def _generator(subjects: int, seed: int, design: Design) -> dict[str, Any]:
    """How a data set was made; only ``Subjects`` may differ when it is extended."""
    return {
        "Name": "stroke-nets simulate",
        "Version": stroke_nets.__version__,
        "Recipe": RECIPE,
        "Seed": seed,
        "Design": _options(design).strip(),
        "Subjects": subjects,
    }


def _description(generator: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": NAME,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": LICENCE,
        "GeneratedBy": [generator],
    }


def _participants(records: list[dict[str, Any]]) -> str:
    """The text of ``participants.tsv``."""
    rows = [f"{record['subject']}\t{record['lesion_voxels']}" for record in records]
    return "\n".join(["participant_id\tlesion_voxels", *rows]) + "\n"


def _make_all(
    out: Path, subjects: int, seed: int, workers: int, design: Design
) -> list[dict[str, Any]]:
    """The manifest records of patients 1 to ``subjects``, in order."""
    make = functools.partial(_make, out, seed, design)
    patients = range(1, subjects + 1)
    if workers == 1:
        return list(track(map(make, patients), "simulating", subjects))
    made = in_processes(make, patients, min(workers, subjects))
    return list(track(made, "simulating", subjects))


def _make(out: Path, seed: int, design: Design, index: int) -> dict[str, Any]:
    """Write one patient, unless it exists, and return its manifest record."""
    subject = f"sub-sim{index:04d}"
    stem = f"{subject}/ses-1/anat/{subject}_ses-1_space-MNI152NLin2009aSym"
    image, label = f"{stem}_T1w.nii.gz", f"{stem}_label-L_desc-T1lesion_mask.nii.gz"
    if not (_is_sound(out / image) and _is_sound(out / label)):
        t1, mask = simulate_patient(seed, index, design)
        _write_volume(out / image, t1)
        _write_volume(out / label, mask)
    record = manifest.describe(out, subject=subject, session="ses-1", image=image, label=label)
    source = lesion_source(seed, index, design)
    return record | ({} if source is None else {"lesion_source": source})


def _is_sound(path: Path) -> bool:
    """Whether a volume is there, and can be read to its end."""
    try:
        return path.exists() and bool(read_scan(path).digest)
    except DataError:
        return False


def deal_by_source(records: list[dict[str, Any]], folds: int, seed: int) -> None:
    """Give each record its fold; records with the same ``lesion_source`` share one."""
    groups = [record.get("lesion_source", record["subject"]) for record in records]
    volumes = dict.fromkeys(groups, 0)
    for group, record in zip(groups, records, strict=True):
        volumes[group] += record["lesion_voxels"]
    dealt = dict(zip(volumes, size_balanced(list(volumes.values()), folds, seed), strict=True))
    for group, record in zip(groups, records, strict=True):
        record["fold"] = dealt[group]


def _write_volume(path: Path, voxels: NDArray[Any]) -> None:
    """Write a NIfTI file atomically; its bytes contain no file name and no time."""
    volume = nib.Nifti1Image(voxels, template().affine)
    volume.set_sform(template().affine, MNI152)
    volume.set_qform(template().affine, MNI152)
    volume.header.set_xyzt_units("mm")
    with whole(path) as partial:
        nib.save(volume, partial)
