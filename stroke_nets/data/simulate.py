"""Simulated chronic-stroke patients: a first run needs no download and no patient's consent.

Each patient is the healthy ICBM 152 T1w template (the copy that ships inside nilearn, on the grid
of ATLAS v2.0), bent by a smooth random deformation, with CSF-like lesions of known volume, a bias
field, noise and its own intensity scale. Patient ``index`` of ``seed`` is always the same, whatever
the number of workers. The lesions are made to train and test code, not to study stroke.

Letters: X, Y, Z are the voxels of the ATLAS v2.0 grid (197, 233, 189) at 1 mm; a *box* is the part
of it that a step works in.
"""

import functools
import json
import math
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline
from tqdm import tqdm

import stroke_nets
from stroke_nets.data import folds as fold_rules
from stroke_nets.data import manifest
from stroke_nets.errors import UsageError

RECIPE = 1  # raise it when a change alters any patient's voxels: old folders are then refused
NAME = "Simulated chronic-stroke patients"
TEMPLATE = "ICBM 152 nonlinear symmetric 2009a T1w, 1 mm, brain only, as shipped with nilearn"
LICENCE = (
    "Derived from the ICBM 152 template, Copyright (C) 1993-2009 Louis Collins, McConnell Brain "
    "Imaging Centre, Montreal Neurological Institute, McGill University: use, copy, modify and "
    "distribute for any purpose and without fee, keeping this notice"
)

MNI152 = 4  # NIfTI-1 sform and qform code of MNI space
VOXELS_PER_ML = 1000  # of the 1 mm grid
MEDIAN_ML, SPREAD, LARGEST_ML = 10.0, 1.3, 200.0  # log-normal total volume of a patient's lesions
SMALLEST = 13  # voxels: the smallest lesion of ATLAS v2.0 (Liew et al. 2022)
LESION_COUNTS = (0.15, 0.60, 0.15, 0.06, 0.04)  # probability of 0, 1, 2, 3, 4 lesions

Array = NDArray[np.float64]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Template:
    """The healthy brain that every patient starts from; arrays are cropped to ``box``."""

    affine: Array  # (4, 4), voxel to mm
    shape: tuple[int, int, int]  # (X, Y, Z)
    box: Box  # the brain and a margin for the deformation
    t1: Array  # in [0, 1]; 0 outside the brain
    tissue: Array  # share of grey and white matter around a voxel: low in ventricles, not in sulci
    midline: float  # voxel along x, counted from the box
    csf: float  # T1w intensity of cerebrospinal fluid
    grey: float  # T1w intensity of grey matter


@functools.cache
def template() -> Template:
    """The template that ships inside nilearn; read once per process."""
    from nilearn import datasets  # here, because it takes seconds and a command may not need it

    image = datasets.load_mni152_template(resolution=1)
    t1 = np.asarray(image.dataobj, dtype=np.float64)
    grey = datasets.load_mni152_gm_template(resolution=1).get_fdata()
    tissue = grey + datasets.load_mni152_wm_template(resolution=1).get_fdata()
    box = _box_around(ndimage.find_objects((t1 > 0).astype(np.int8))[0], margin=16, shape=t1.shape)
    return Template(
        affine=image.affine,
        shape=t1.shape,
        box=box,
        t1=t1[box],
        tissue=ndimage.gaussian_filter(tissue[box], 2.0),
        midline=-image.affine[0, 3] - box[0].start,
        csf=float(np.median(t1[(t1 > 0.2) & (tissue < 0.1)])),
        grey=float(np.median(t1[grey > 0.9])),
    )


def _box_around(box: Box, margin: int, shape: Iterable[int]) -> Box:
    """``box`` grown by ``margin`` voxels on each side, within ``shape``."""
    x, y, z = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, shape, strict=True)
    )
    return x, y, z


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], spacing: float) -> Array:
    """Smooth random field: standard normal values ``spacing`` voxels apart, cubic splines between.

    Args:
        rng: source of the values.
        shape: shape of the field.
        spacing: about how far apart the random values lie; at least four are drawn per axis.

    Returns:
        Field of ``shape``.
    """
    field = rng.standard_normal([max(4, round(size / spacing) + 1) for size in shape])
    for axis, size in enumerate(shape):
        knots = np.linspace(0, size - 1, field.shape[axis])
        field = CubicSpline(knots, field, axis=axis, bc_type="natural")(np.arange(size))
    return field


def deformation(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """Where each voxel of a patient comes from in the template.

    A small affine map about the middle and a smooth displacement of 2.5 mm standard deviation on
    nodes 30 mm apart: gentle enough that nothing folds.

    Args:
        rng: source of the deformation.
        shape: shape of the box, in voxels of 1 mm.

    Returns:
        Voxel coordinates, (3, *shape).
    """
    middle = (np.array(shape) - 1) / 2
    linear = np.eye(3) + rng.normal(0, 0.02, (3, 3))
    axes = [np.arange(size) - half for size, half in zip(shape, middle, strict=True)]
    x, y, z = np.ix_(*axes)
    coordinates = np.empty((3, *shape))
    for axis, (a, b, c) in enumerate(linear):
        displacement = 2.5 * smooth_field(rng, shape, 30)
        coordinates[axis] = a * x + b * y + c * z + middle[axis] + displacement
    return coordinates


def draw_volumes(rng: np.random.Generator) -> list[int]:
    """Volumes of one patient's lesions, in voxels: one total, split at random; may be empty."""
    count = int(rng.choice(len(LESION_COUNTS), p=LESION_COUNTS))
    total = rng.lognormal(np.log(MEDIAN_ML), SPREAD)
    voxels = np.clip(total * VOXELS_PER_ML, SMALLEST, LARGEST_ML * VOXELS_PER_ML)
    if count == 0:
        return []
    shares = rng.dirichlet(np.ones(count))
    return [max(SMALLEST, int(share * voxels)) for share in shares]


def lesion_distance(rng: np.random.Generator, centre: Array, radius: float, box: Box) -> Array:
    """Distance from the centre of a lesion, in mm, stretched and dented so that no level is round.

    Args:
        rng: source of the shape.
        centre: voxel, (3,).
        radius: of the ball that has the volume of the lesion, in mm.
        box: voxels wanted.

    Returns:
        Distance, of the shape of ``box``.
    """
    stretch = np.exp(rng.normal(0, 0.25, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3))).Q
    axes = [np.arange(side.start, side.stop) - c for side, c in zip(box, centre, strict=True)]
    x, y, z = np.ix_(*axes)
    rows = turn / (stretch / stretch.prod() ** (1 / 3))[:, None]
    distance = np.sqrt(sum((a * x + b * y + c * z) ** 2 for a, b, c in rows))
    for spacing, depth in ((0.8, 0.28), (0.35, 0.10)):  # lobes, then ragged edges, in radii
        distance += depth * radius * smooth_field(rng, distance.shape, max(3, spacing * radius))
    return distance


def lesion_weight(
    rng: np.random.Generator, voxels: int, allowed: NDArray[np.bool_]
) -> tuple[Box, Array]:
    """One lesion: how much of each voxel it has destroyed.

    Args:
        rng: source of place, shape and softness of the border.
        voxels: how many weights are to be above one half.
        allowed: where the lesion may be, (X, Y, Z) of the template's box.

    Returns:
        The box that holds the lesion, and the weights in it, in [0, 1].
    """
    place = rng.choice(np.flatnonzero(allowed))
    centre = np.array(np.unravel_index(place, allowed.shape))
    radius = math.cbrt(3 * voxels / (4 * math.pi))
    x, y, z = (slice(c, c + 1) for c in centre.tolist())
    box = _box_around((x, y, z), margin=round(2.2 * radius) + 10, shape=allowed.shape)
    distance = lesion_distance(rng, centre, radius, box)
    distance[~allowed[box]] = np.inf
    voxels = min(voxels, np.isfinite(distance).sum() - 1)
    level = np.partition(distance, [voxels - 1, voxels], axis=None)[voxels - 1 : voxels + 1].mean()
    width = rng.uniform(1.0, 2.5)  # mm from untouched to destroyed
    return box, np.clip(0.5 + (level - distance) / width, 0, 1)


def add_lesions(
    rng: np.random.Generator, t1: Array, tissue: Array, left: NDArray[np.bool_], volumes: list[int]
) -> NDArray[np.uint8]:
    """Paint lesions into a brain, each within one hemisphere.

    Args:
        rng: source of the lesions.
        t1: intensities, changed in place.
        tissue: share of grey and white matter around each voxel.
        left: which voxels belong to the left hemisphere.
        volumes: of the lesions, in voxels.

    Returns:
        Mask of the lesions, 0 or 1.
    """
    mask = np.zeros(t1.shape, np.uint8)
    free = (tissue > 0.5) & (t1 > 0.2)
    for voxels in volumes:
        side = left if rng.random() < 0.5 else ~left
        box, weight = lesion_weight(rng, voxels, free & side & (mask == 0))
        darkness = rng.uniform(template().csf, 0.6 * template().grey)
        scar = 0.2 * (t1[box] - template().grey)  # a trace of what was there
        core = darkness + scar + 0.03 * smooth_field(rng, weight.shape, 6)
        t1[box] += weight * (core - t1[box])
        mask[box] |= weight > 0.5
    return mask


def simulate_patient(seed: int, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """One patient; the affine of both volumes is ``template().affine``.

    Args:
        seed: of the data set, not negative.
        index: of the patient, not negative.

    Returns:
        T1w image (X, Y, Z), positive in the brain and 0 outside, and lesion mask (X, Y, Z).
    """
    rng = np.random.default_rng([seed, index])
    volumes = draw_volumes(rng)
    healthy = template()
    source = deformation(rng, healthy.t1.shape)
    bend = functools.partial(ndimage.map_coordinates, coordinates=source, order=1)
    t1, tissue = bend(healthy.t1), bend(healthy.tissue)
    brain = t1 > 0.2
    mask = add_lesions(rng, t1, tissue, source[0] < healthy.midline, volumes)
    t1 *= np.exp(rng.uniform(0.02, 0.12) * smooth_field(rng, t1.shape, 70))  # bias field
    t1 += rng.uniform(0.01, 0.03) * rng.standard_normal(t1.shape)  # scanner noise
    scaled = np.where(brain, np.maximum(np.rint(rng.uniform(400, 1000) * t1), 1), 0)
    return _uncrop(scaled.astype(np.int16)), _uncrop(mask)


def _uncrop(part: NDArray[Any]) -> NDArray[Any]:
    """The template's box, put back into the whole grid."""
    whole = np.zeros(template().shape, part.dtype)
    whole[template().box] = part
    return whole


def simulate(out: Path, subjects: int, seed: int, workers: int = 2, folds: int = 5) -> Path:
    """Write a data set laid out as ATLAS v2.0's training derivatives.

    Patients that ``out`` already holds whole are kept, so a stopped run is taken up again and a
    data set is extended by asking for more.

    Args:
        out: folder to write; made if it does not exist.
        subjects: number of patients.
        seed: of the data set.
        workers: processes, 1 for none beside this one; the result is the same for any number.
        folds: cross-validation folds, balanced by lesion volume.

    Returns:
        The manifest, ``out/manifest.json``.

    Raises:
        UsageError: if a number is out of range, or ``out`` holds anything but a simulated data set
            of the same seed and recipe with at most ``subjects`` patients.
    """
    asked = {"subjects": subjects, "seed": seed, "workers": workers, "folds": folds}
    for name, least in {"subjects": 1, "seed": 0, "workers": 1, "folds": 2}.items():
        if asked[name] < least:
            raise UsageError(f"{name} is {asked[name]}: give {least} or more")
    _claim(out, subjects, seed)
    records = _make_all(out, subjects, seed, workers)
    chosen = fold_rules.size_balanced([r["lesion_voxels"] for r in records], folds, seed)
    for record, fold in zip(records, chosen, strict=True):
        record["fold"] = fold
    _write_text(out / "participants.tsv", _participants(records))
    provenance = {
        "command": f"stroke-nets simulate OUT --subjects {subjects} --seed {seed} --folds {folds}",
        "template": TEMPLATE,
        "recipe": RECIPE,
        "version": stroke_nets.__version__,
    }
    path = out / manifest.MANIFEST
    manifest.write(path, name="simulated", licence=LICENCE, records=records, provenance=provenance)
    return path


def _claim(out: Path, subjects: int, seed: int) -> None:
    """Write ``dataset_description.json``, or refuse a folder that holds something else."""
    description = out / "dataset_description.json"
    advice = "choose another folder or delete it"
    if description.exists():
        held = _recipe(description)
        if held is None or (held["Seed"], held["Recipe"]) != (seed, RECIPE):
            raise UsageError(f"{out} holds another data set than seed {seed}: {advice}")
        if held["Subjects"] > subjects:
            raise UsageError(f"{out} holds {held['Subjects']} patients, not {subjects}: {advice}")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds something other than a simulated data set: {advice}")
    out.mkdir(parents=True, exist_ok=True)
    _write_text(description, json.dumps(_description(subjects, seed), indent=2) + "\n")


def _recipe(description: Path) -> dict[str, Any] | None:
    """What ``_description`` recorded; None if another program wrote the file."""
    try:
        recipe = json.loads(description.read_text(encoding="utf-8"))["GeneratedBy"][0]
        return recipe if {"Seed", "Recipe", "Subjects"} <= recipe.keys() else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _description(subjects: int, seed: int) -> dict[str, Any]:
    generator = {
        "Name": "stroke-nets simulate",
        "Version": stroke_nets.__version__,
        "Recipe": RECIPE,
        "Seed": seed,
        "Subjects": subjects,
    }
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


def _make_all(out: Path, subjects: int, seed: int, workers: int) -> list[dict[str, Any]]:
    """The manifest records of patients 1 to ``subjects``, in order."""
    make = functools.partial(_make, out, seed)
    patients = range(1, subjects + 1)
    progress = functools.partial(tqdm, total=subjects, desc="simulate", unit="patient")
    if workers == 1:
        return list(progress(map(make, patients)))
    spawn = multiprocessing.get_context("spawn")  # fork is unsafe once torch has started threads
    with ProcessPoolExecutor(min(workers, subjects), mp_context=spawn) as pool:
        return list(progress(pool.map(make, patients)))


def _make(out: Path, seed: int, index: int) -> dict[str, Any]:
    """Write one patient, unless it is there, and return its manifest record."""
    subject = f"sub-sim{index:04d}"
    stem = f"{subject}/ses-1/anat/{subject}_ses-1_space-MNI152NLin2009aSym"
    image, label = f"{stem}_T1w.nii.gz", f"{stem}_label-L_desc-T1lesion_mask.nii.gz"
    if not ((out / image).exists() and (out / label).exists()):
        (out / image).parent.mkdir(parents=True, exist_ok=True)
        t1, mask = simulate_patient(seed, index)
        _write_volume(out / image, t1)
        _write_volume(out / label, mask)
    return manifest.describe(out, subject=subject, session="ses-1", image=image, label=label)


def _write_volume(path: Path, voxels: NDArray[Any]) -> None:
    """Write a NIfTI file whole or not at all; its bytes hold no name and no time."""
    volume = nib.Nifti1Image(voxels, template().affine)
    volume.set_sform(template().affine, MNI152)
    volume.set_qform(template().affine, MNI152)
    volume.header.set_xyzt_units("mm")
    partial = path.with_name(f".partial_{path.name}")
    nib.save(volume, partial)
    os.replace(partial, path)


def _write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    partial = path.with_name(f".partial_{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
