#!/usr/bin/env bash
# niimath -allineate does not reach a head that lies more than 128 mm from the template, and says nothing.
#
# Guess: an affine registration with a multi-resolution search (-allineate, after AFNI's 3dAllineate)
#   either finds a head whose header puts it 150 mm away, or fails with an error.
# Behaviour: translations are bounded by 128 mm along each axis. A head 100 mm away is found; the same
#   head 150 mm away is not: the map is more than 100 mm wrong, the exit status is 0 and no warning is
#   printed. With -com, which moves the world's origin to the centre of brightness first, it is found.
# Versions: niimath 1.0.20261016, nibabel 5.4.2, numpy 2.4.6, scipy 1.17.1; Linux x86-64.
# Why it matters: many scanners and converters put the origin at a corner of the volume, so a head
#   lies 100 to 150 mm from where a template has it. A pipeline that trusts the exit status then
#   segments the wrong place. Always pass -com, and measure the result.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  niimath==1.0.20261016 nibabel==5.4.2 numpy==2.4.6 scipy==1.17.1 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
python3 - <<'PYTHON'
import json
import subprocess

import nibabel as nib
import niimath
import numpy as np

print("niimath", niimath.__version__)
shape, size = (91, 109, 91), 2.0
affine = nib.affines.from_matvec(np.eye(3) * size, -size * (np.array(shape) - 1) / 2)
x, y, z = nib.affines.apply_affine(affine, np.indices(shape).reshape(3, -1).T).T.reshape(3, *shape)
folds = 6 * np.sin(np.arctan2(y, x) * 9) * np.cos(z / 9)
away = (x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2
brain = away < 1
white = (x / (50 + folds)) ** 2 + (y / (66 + folds)) ** 2 + (z / (48 + folds)) ** 2 < 1
ventricle = ((abs(x) - 12) / 7) ** 2 + ((y + 5) / 26) ** 2 + ((z - 6) / 12) ** 2 < 1
cerebellum = (x / 45) ** 2 + ((y + 55) / 24) ** 2 + ((z + 42) / 18) ** 2 < 1
template = np.where(brain | cerebellum, 600, 0)
template = np.where(white, 1000, template)
template = np.where(ventricle, 250, template)
skull = ((x / 72) ** 2 + (y / 88) ** 2 + (z / 68) ** 2 < 1) & (template == 0)
scalp = ((x / 82) ** 2 + (y / 98) ** 2 + (z / 78) ** 2 < 1) & (template == 0) & ~skull
head = np.where(scalp, 800, np.where(skull, 80, template))
nib.save(nib.Nifti1Image(template.astype(np.int16), affine), "template.nii")


def error(shift, *options):
    """Register the head moved along y; how far is the map from the right one, in mm?"""
    move = nib.affines.from_matvec(np.eye(3), (0, shift, 0))
    nib.save(nib.Nifti1Image(head.astype(np.int16), move @ affine), "head.nii")
    command = [niimath.bin, "head.nii", "-allineate", "template.nii", *options]
    ran = subprocess.run([*command, "-savemat", "map.json", "out.nii"], capture_output=True, text=True)
    said = (ran.stdout + ran.stderr).strip().splitlines()
    found = np.array(json.load(open("map.json"))["fixed_to_moving"])
    places = np.argwhere(template > 0)[::50]
    world = nib.affines.apply_affine(affine, places)
    gap = nib.affines.apply_affine(found, world) - nib.affines.apply_affine(move, world)
    mean = np.linalg.norm(gap, axis=1).mean()
    print(f"{shift} mm off, {' '.join(options) or 'defaults'}: exit {ran.returncode}, map {mean:.1f} mm off")
    for line in said:
        print("  said:", line)
    return ran.returncode, mean


near, far, com = error(100), error(150), error(150, "-com")
assert near[0] == far[0] == com[0] == 0
assert near[1] < 3, near
assert far[1] > 50, far
assert com[1] < 3, com
print("confirmed: beyond 128 mm the fit fails in silence; -com reaches it")
PYTHON
