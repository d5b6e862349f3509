"""Accuracy, speed and safety of the registration. Writes results/registration.json.

It has these parts, and can be stopped and resumed between cases:

- ``heads``: quality on real heads (a folder with arc/ and heads/); for the ARC patient also the
  fraction of the traced lesion outside the mapped template brain, by the margin in mm.
- ``poses``: the ARC patient with its header rotated and shifted; ``units``: with its intensities
  changed. Reports the mean distance to the original map over the brain, in mm.
- ``simulated``: patients on the template's anatomy with skull and lesion under a known affine map.
- ``wrong``: quality on cropped fields of view, noise, a ball and another contrast.
- ``cost``: processor seconds and peak memory of ``stroke-nets normalize`` on the ARC patient in a
  separate process; with --old, also of the build in that folder, in the same run.

Run: python benchmarks/registration.py --real FOLDER [--old CHECKOUT_OF_83b0283]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from stroke_nets.files import write_whole
from stroke_nets.registration.pipeline import carry_back
from stroke_nets.registration.register import Registration, register
from stroke_nets.registration.template import template
from stroke_nets.registration.transform import Transform
from stroke_nets.registration.volume import Volume, brain, dilated, places, read, resampled
from stroke_nets.synthesis import Design, simulate_patient

RESULTS = Path(__file__).parent / "results" / "registration.json"
MARGINS = (0, 1, 2, 3, 4)  # mm
PATIENTS = (7, 2, 5)  # of seed 2
TURNS = {
    "pitch 30": (30, 0, 0),  # 56 degrees in all: its own header has a pitch of 26
    "upside down": (180, 0, 0),
    "pitch -30": (-30, 0, 0),
    "roll 30": (0, 30, 0),
    "yaw 30": (0, 0, 30),
    "on its face": (90, 0, 0),
}
Row = dict[str, Any]


def turned(degrees: tuple[float, ...], shift: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    """A rigid map, (4, 4)."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return nib.affines.from_matvec(turn, shift)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance between two maps over the template's brain, in mm."""
    inside = places(dilated(brain(3), 0), brain(3).affine)
    apart = Transform(one).to_scan(inside) - Transform(other).to_scan(inside)
    return round(float(np.linalg.norm(apart, axis=0).mean()), 3)


def timed(scan: Volume) -> tuple[Registration, Row]:
    """Register one scan; return the result, its quality and processor seconds with niimath's."""
    began = worked()
    found = register(scan)
    said = {"problems": found.problems(), "warnings": found.warnings()}
    quality = found.quality.as_dict() if found.quality else {}
    return found, quality | said | {"cpu_seconds": round(worked() - began, 1)}


def worked() -> float:
    """Processor seconds of this process and its children."""
    ran = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ran.ru_utime + ran.ru_stime


def arc(real: Path, kind: str) -> Path:
    """A file of the ARC patient."""
    return real / "arc" / "sub-M2051" / "anat" / f"sub-M2051_{kind}.nii.gz"


def heads(real: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The unchanged real heads."""
    for path in [arc(real, "T1w"), *sorted((real / "heads").glob("*.nii.gz"))]:

        def case(path: Path = path) -> Row:
            scan = read(path)
            found, row = timed(scan)
            if path.name.startswith("sub-M2051"):
                lesion = read(arc(real, "label-lesion_mask")).voxels > 0
                row["lesion_outside"] = lesion_outside(found.matrix, scan, lesion)
            return {"matrix": found.matrix.tolist()} | row

        yield path.name.removesuffix(".nii.gz"), case


def lesion_outside(matrix: np.ndarray, scan: Volume, lesion: np.ndarray) -> dict[str, float]:
    """The fraction of a lesion outside the template's brain plus a margin, by the margin in mm."""
    inside = dilated(brain(), 0)
    away = ndimage.distance_transform_edt(~inside).astype(np.float32)
    near = Volume(np.maximum(10 - away, 0), brain().affine)
    carried = carry_back(near, Transform(matrix), scan.voxels.shape, scan.affine)
    shares = {str(mm): carried[lesion] < 10 - mm - 0.5 for mm in MARGINS}
    return {mm: round(float(out.mean()), 4) for mm, out in shares.items()}


def poses(real: Path, first: np.ndarray) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The ARC patient with modified headers."""
    maps = {name: turned(degrees) for name, degrees in TURNS.items()}
    maps["60 mm off"] = turned((0, 0, 0), (60, 0, 0))
    maps["300 mm off"] = turned((0, 0, 0), (300, -250, 400))
    for name, pose in maps.items():

        def case(pose: np.ndarray = pose) -> Row:
            scan = read(arc(real, "T1w"))
            found, row = timed(Volume(scan.voxels, pose @ scan.affine))
            return {"error_mm": distance(found.matrix, pose @ first)} | row

        yield name, case


def units(real: Path, first: np.ndarray) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The ARC patient with modified intensities."""
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "x 0.001": lambda v: v * np.float32(0.001),
        "x 1000": lambda v: v * 1000,
        "- 1000": lambda v: v - 1000,
        "+ 1000": lambda v: v + 1000,
        "z-score": lambda v: (v - v.mean()) / v.std(),
    }
    for name, change in changes.items():

        def case(change: Callable[[np.ndarray], np.ndarray] = change) -> Row:
            scan = read(arc(real, "T1w"))
            found, row = timed(Volume(change(scan.voxels).astype(np.float32), scan.affine))
            return {"error_mm": distance(found.matrix, first)} | row

        yield name, case


def simulated() -> Iterator[tuple[str, Callable[[], Row]]]:
    """Patients with skull, resampled by a known map to a 1 mm grid."""
    for index in PATIENTS:

        def case(index: int = index) -> Row:
            rng = np.random.default_rng(index)
            known = turned(rng.uniform(-20, 20, 3), rng.uniform(-40, 40, 3))
            known = known @ np.diag([*rng.uniform(0.85, 1.0, 3), 1])
            t1, mask = simulate_patient(2, index, Design(bend=0))
            grid = nib.affines.from_matvec(np.eye(3), known[:3, 3] - 128)
            there = np.linalg.inv(known @ template().affine) @ grid
            scan = Volume(resampled(t1.astype(np.float32), there, (256,) * 3), grid)
            found, row = timed(scan)
            ml = round(float(mask.sum()) / 1000, 1)
            return {"lesion_ml": ml, "error_mm": distance(found.matrix, known)} | row

        yield f"patient {index}", case


def wrong(real: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Cases that must be refused, or at least cause a warning."""
    rng = np.random.default_rng(0)

    def top_cut(share: float) -> Volume:
        scan = read(arc(real, "T1w"))
        top = round(share * scan.voxels.shape[2])
        return Volume(scan.voxels[:, :, :-top], scan.affine)

    def half(empty: bool) -> Volume:
        scan = read(real / "heads" / "colin27_head_1mm.nii.gz")
        middle = len(scan.voxels) // 2
        if not empty:
            return Volume(scan.voxels[:middle], scan.affine)
        voxels = scan.voxels.copy()
        voxels[middle:] = 0
        return Volume(voxels, scan.affine)

    def inverted() -> Volume:
        scan = read(real / "heads" / "colin27_head_1mm.nii.gz")
        head = scan.voxels > 0.1 * np.percentile(scan.voxels, 99)
        return Volume(np.where(head, scan.voxels.max() - scan.voxels, 0), scan.affine)

    def noise() -> Volume:
        return Volume(rng.random((160, 200, 180)).astype(np.float32), np.eye(4))

    def ball() -> Volume:
        away = np.linalg.norm(np.indices((100, 100, 100)) - 50.0, axis=0)
        values = 100 * (away < 40) + rng.normal(0, 3, away.shape)
        return Volume(values.astype(np.float32), np.diag([2, 2, 2, 1.0]))

    scans = {
        "a quarter of the top cut": lambda: top_cut(0.45),
        "one half only": lambda: half(False),
        "one half empty": lambda: half(True),
        "inverted contrast": inverted,
        "noise": noise,
        "a ball": ball,
    }
    for name, scan in scans.items():
        yield name, lambda scan=scan: timed(scan())[1]


def cost(real: Path, old: Path | None) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The command in separate processes."""
    for name, folder in {"this build": Path(__file__).parents[1], "old build": old}.items():
        if folder is not None:
            yield name, lambda folder=folder: spent(folder, arc(real, "T1w"))


def spent(folder: Path, scan: Path) -> Row:
    """Processor seconds and peak memory of one cold ``stroke-nets normalize``."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'stroke_nets', 'normalize', *sys.argv[1:]],"
        " check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\n"
    )
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", code, str(scan), f"{out}/mni"]
        ran = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=out
        )
    seconds, megabytes = map(float, ran.stdout.split())
    return {"cpu_seconds": round(seconds, 1), "peak_mb": round(megabytes)}


def main() -> None:
    """Run the remaining cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder with arc/ and heads/")
    parser.add_argument("--old", type=Path, help="checkout of the build to compare with")
    options = parser.parse_args()
    rows: dict[str, dict[str, Row]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def run(part: str, cases: Iterator[tuple[str, Callable[[], Row]]]) -> None:
        for name, case in cases:
            if name not in rows.setdefault(part, {}):
                rows[part][name] = case()
                print(part, name, rows[part][name] | {"matrix": "..."}, flush=True)
                write_whole(RESULTS, json.dumps(rows, indent=1) + "\n")

    run("heads", heads(options.real))
    first = np.array(rows["heads"]["sub-M2051_T1w"]["matrix"])
    run("units", units(options.real, first))
    run("poses", poses(options.real, first))
    run("wrong", wrong(options.real))
    run("cost", cost(options.real, options.old))
    run("simulated", simulated())


if __name__ == "__main__":
    main()
