"""Simulated and real patients in diffusion MRI side by side; STROKE_NETS_REAL_DATA holds them."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from stroke_nets.registration.volume import read
from stroke_nets.synthesis.diffusion import Habit, make_patient
from stroke_nets.synthesis.t1w import Sources, read_sources, sources
from stroke_nets.synthesis.t1w.sources import share_tissues

DATA = Path(os.environ.get("STROKE_NETS_REAL_DATA", "/nowhere"))
CASES = ("0001", "0002", "0004", "0009")
NAMES = (
    *(f"DWI, {k}th percentile" for k in (1, 10, 90, 99)),  # relative to the brain's median
    *("DWI, lesion", "DWI, around it"),
    *("ADC, 10th percentile", "ADC, median", "ADC, lesion", "ADC, around it"),  # 1e-3 mm2/s
)
# A simulated patient's figure may lie beyond the four real ones' by this share of it.
BEYOND = 0.12

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="STROKE_NETS_REAL_DATA names no folder"),
]


def figures(dwi, adc, lesion):
    """What `NAMES` lists, of a brain whose surroundings are 0."""
    brain = dwi > 0
    dwi = dwi / np.median(dwi[brain])
    near = ndimage.binary_dilation(lesion, iterations=3) & ~ndimage.binary_dilation(lesion) & brain
    found = [*np.percentile(dwi[brain], [1, 10, 90, 99])]
    found += [np.median(dwi[lesion]), np.median(dwi[near]), *np.percentile(adc[brain], [10, 50])]
    return [*found, np.median(adc[lesion]), np.median(adc[near])]


def piled_up(dwi, adc, lesion):
    """Share of the brain that is as bright as an infarct and has healthy tissue's ADC."""
    brain, near = dwi > 0, ndimage.binary_dilation(lesion, iterations=2)
    bright = dwi > 1.8 * np.median(dwi[brain])
    return (bright & (adc > 0.7) & ~near).sum() / brain.sum()


def real(case):
    """DWI, ADC and outline of a patient of ISLES 2022."""
    folder = DATA / "isles22" / f"sub-strokecase{case}"
    dwi, adc, mask = (
        read(folder / f"sub-strokecase{case}_{kind}.nii.gz").voxels
        for kind in ("dwi", "adc", "msk")
    )
    return dwi, adc / 1000, mask > 0


def centred(painted):
    """Moves a head's centre onto the template's: enough for intensities."""
    inside = np.argwhere(painted.voxels > 80).mean(axis=0)
    centre = nib.affines.apply_affine(painted.affine, inside)
    return nib.affines.from_matvec(np.eye(3), centre - np.array([0, -18, 5]))


def test_simulated_patients_are_as_bright_and_dark_as_real_ones(monkeypatch):
    monkeypatch.setattr(sources, "_registered", centred)
    maps = sorted((DATA / "anatomies").glob("seg_*.nii.gz"))[:3]
    anatomies = np.stack([share_tissues(read(file)) for file in maps])
    heads = Sources(anatomies, np.zeros((0, *anatomies.shape[2:]), np.uint8), np.zeros(0))
    habit = Habit(healthy=0, dwi_alone=0, stripped=1)
    made = [make_patient(0, index, heads, habit) for index in range(24)]
    measured = [figures(*image.numpy(), mask.numpy()) for image, mask in made if mask.sum() > 20]
    assert len(measured) > 12
    values = [figures(*real(case)) for case in CASES]
    least, most = np.min(values, axis=0), np.max(values, axis=0)
    for name, low, high, found in zip(NAMES, least, most, np.median(measured, axis=0), strict=True):
        assert low * (1 - BEYOND) < found < high * (1 + BEYOND), name


def test_signal_piles_up_over_as_much_of_the_brain_as_in_real_patients():
    habit = Habit(dwi_alone=0, stripped=1)
    made = (make_patient(0, index, read_sources(None), habit) for index in range(24))
    shares = [piled_up(*image.numpy(), mask.numpy()) for image, mask in made]
    for case in CASES:
        assert min(shares) < piled_up(*real(case)) < max(shares), case
