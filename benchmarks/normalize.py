"""How well does ``stroke-nets normalize`` find a head's place? Writes results/normalize.json.

Three parts, each of cases that can be stopped and taken up again:

- ``simulated``: 20 patients on the template's anatomy with skull, half of them with a lesion above
  50 ml, moved by a known affine map: turned by up to 20 degrees, shifted by up to 40 mm, each axis
  scaled by 0.85 to 1.15. The error is the distance, in scan's mm, from where each voxel of the
  template's brain belongs to where it was put.
- ``arc``: one real patient (ARC, OpenNeuro ds004884, sub-M2051; give the folder that holds
  arc/sub-M2051) with ten false headers: how far apart are the places found? And a mask, there
  and back.
- ``wrong``: what no registration can fix must be refused.

Run: python benchmarks/normalize.py --real FOLDER
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from stroke_nets.registration import template
from stroke_nets.registration.bias import correct_bias, scaled
from stroke_nets.registration.itk_bridge import load_itk
from stroke_nets.registration.pipeline import fit, from_template, on_template
from stroke_nets.registration.transform import Transform
from stroke_nets.registration.volume import Volume, brain, dilated, places, read
from stroke_nets.synthesis import Design, simulate_patient
from stroke_nets.synthesis.patient import draw_stroke

RESULTS = Path(__file__).parent / "results" / "normalize.json"
SEED, CASES, POSES, LARGE = 0, 20, 10, 50_000
FIELD_OF_VIEW = 256  # mm


def random_map(rng: np.random.Generator, scales: bool) -> np.ndarray:
    """A turn of up to 20 degrees, a shift of up to 40 mm, and perhaps scales: (4, 4)."""
    axis, way = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(rng.uniform(0, 20) * axis, degrees=True).as_matrix()
    sizes = rng.uniform(0.85, 1.15, 3) if scales else np.ones(3)
    return nib.affines.from_matvec(turn @ np.diag(sizes), rng.uniform(0, 40) * way)


def chosen_patients() -> list[int]:
    """The first patients of the seed with a lesion above 50 ml, and as many of the others."""
    large, other, index = [], [], 0
    while min(len(large), len(other)) < CASES // 2:
        index += 1
        volumes = draw_stroke(np.random.default_rng([SEED, index, 1])).volumes
        (large if volumes and max(volumes) > LARGE else other).append(index)
    return large[: CASES // 2] + other[: CASES // 2]


def native(index: int, known: np.ndarray) -> Volume:
    """A simulated patient, moved by ``known``, on a grid of 1 mm about the head."""
    t1, _ = simulate_patient(SEED, index, Design(bend=0))
    head = Volume(t1.astype(np.float32), template().affine)
    corner = known[:3, 3] - FIELD_OF_VIEW / 2
    grid = nib.affines.from_matvec(np.eye(3), corner)
    shape = (FIELD_OF_VIEW,) * 3
    points = places(np.ones(shape, bool), grid)
    there = Transform(np.linalg.inv(known)).to_scan(points)
    return Volume(head.sample(there).reshape(shape), grid)


def timed_fit(scan: Volume) -> tuple[Transform, dict[str, Any]]:
    """Correct and register one scan; the quality, and the seconds it took."""
    began, worked = time.perf_counter(), time.process_time()
    transform, quality = fit(brain(), scaled(correct_bias(scan)))
    row = quality.as_dict() | {
        "problems": quality.problems(),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }
    return transform, row


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between where two maps put the template's brain, in mm."""
    inside = places(dilated(brain(), 0), template().affine)
    apart = Transform(one).to_scan(inside) - Transform(other).to_scan(inside)
    return np.linalg.norm(apart, axis=0)


def rounded(length: float) -> float:
    """To micrometres, as JSON takes it."""
    return round(float(length), 3)


def simulated_case(number: int) -> dict[str, Any]:
    """One simulated patient: the error against the known map."""
    index = chosen_patients()[number]
    known = random_map(np.random.default_rng([SEED, index, 2]), scales=True)
    transform, row = timed_fit(native(index, known))
    error = distances(transform.matrix, known)
    volumes = draw_stroke(np.random.default_rng([SEED, index, 1])).volumes
    errors = {
        "mean_error_mm": round(float(error.mean()), 3),
        "max_error_mm": round(float(error.max()), 3),
    }
    return {"patient": index, "lesion_ml": sum(volumes) / 1000} | errors | row


def arc_case(number: int, folder: Path) -> dict[str, Any]:
    """The real patient in one false pose: the map found, with the pose taken out."""
    anat = folder / "arc" / "sub-M2051" / "anat"
    scan = read(anat / "sub-M2051_T1w.nii.gz")
    pose = random_map(np.random.default_rng([SEED, number]), scales=False)
    transform, row = timed_fit(Volume(scan.voxels, pose @ scan.affine))
    found = np.linalg.inv(pose) @ transform.matrix
    mask = read(anat / "sub-M2051_label-lesion_mask.nii.gz")
    there = on_template(brain(), mask, Transform(found), order=1) > 0.5
    lesion = Volume(there.astype(np.float32), template().affine)
    back = from_template(lesion, Transform(found), mask.voxels.shape, mask.affine)
    dice = 2 * (back * mask.voxels).sum() / (back.sum() + mask.voxels.sum())
    return {"matrix": found.tolist(), "there_and_back_dice": round(float(dice), 4)} | row


def wrong_case(number: int, folder: Path) -> dict[str, Any]:
    """What must be refused: a head upside down, a head on its face, noise."""
    scan = read(folder / "arc" / "sub-M2051" / "anat" / "sub-M2051_T1w.nii.gz")
    if number < 2:
        what, degrees = [("upside down", 180), ("on its face", 90)][number]
        turn = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
        scan = Volume(scan.voxels, nib.affines.from_matvec(turn) @ scan.affine)
    else:
        what = "noise"
        scan = Volume(np.random.default_rng(0).random((160, 200, 180), np.float32), scan.affine)
    return {"what": what} | timed_fit(scan)[1]


def summary(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The figures that the issue asks for, of the cases done so far."""
    found: dict[str, Any] = {}
    if errors := rows["simulated"]:
        found["simulated_mean_error_mm"] = round(
            float(np.mean([e["mean_error_mm"] for e in errors])), 3
        )
        found["simulated_worst_mean_error_mm"] = max(e["mean_error_mm"] for e in errors)
        found["simulated_worst_voxel_mm"] = max(e["max_error_mm"] for e in errors)
    maps = [np.array(row["matrix"]) for row in rows["arc"]]
    if len(maps) > 1:
        pairs = [distances(a, b) for i, a in enumerate(maps) for b in maps[:i]]
        found["arc_worst_pair_mean_mm"] = rounded(max(p.mean() for p in pairs))
        found["arc_worst_pair_voxel_mm"] = rounded(max(p.max() for p in pairs))
    good = rows["simulated"] + rows["arc"]
    found["refused_good"] = sum(bool(row["problems"]) for row in good)
    wrong = [bool(row["problems"]) for row in rows["wrong"]]
    found["refused_wrong"] = f"{sum(wrong)} of {len(wrong)}"
    return found


def main() -> None:
    """Run what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder with arc/")
    options = parser.parse_args()
    load_itk()  # its seconds are nobody's
    rows: dict[str, list[dict[str, Any]]] = {"simulated": [], "arc": [], "wrong": []}
    if RESULTS.exists():
        rows = json.loads(RESULTS.read_text())["cases"]
    parts = {"simulated": (CASES, simulated_case)}
    if options.real:
        parts["arc"] = (POSES, lambda number: arc_case(number, options.real))
        parts["wrong"] = (3, lambda number: wrong_case(number, options.real))
    for part in sorted(parts, key=lambda name: len(rows[name])):
        count, case = parts[part]
        for number in range(len(rows[part]), count):
            rows[part].append(case(number))
            print(part, number + 1, rows[part][-1] | {"matrix": "..."}, flush=True)
            partial = RESULTS.with_suffix(".partial")
            partial.parent.mkdir(exist_ok=True)
            content = {"threads": 1, "summary": summary(rows), "cases": rows}
            partial.write_text(json.dumps(content, indent=1) + "\n")
            os.replace(partial, RESULTS)
    print(summary(rows))


if __name__ == "__main__":
    main()
