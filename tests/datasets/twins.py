"""Tiny simulated copies of each real data set, exactly as it lies on disk, quirks included.

Names and layouts are those that the data sets' own modules state, with their sources. Heads are
ellipsoids with a lesion; 4 x 4 x 24 mm voxels make a network's epoch a matter of seconds.
"""

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

SHAPE = (48, 56, 6)
SPACING = (4.0, 4.0, 24.0)


def head(seed, shape=SHAPE, spacing=SPACING):
    """A head with noise and its lesion: int16 and bool, centred on the world's origin."""
    rng = np.random.default_rng(seed)
    axes = [s * (np.arange(n) - (n - 1) / 2) for n, s in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    brain = (x / 75) ** 2 + (y / 90) ** 2 + (z / 65) ** 2 < 1
    centre = np.random.default_rng(seed).uniform(-30, 30, 3)  # the same on every grid
    lesion = sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True)) < 20**2
    values = np.where(brain, 600 - 350 * lesion + 20 * rng.standard_normal(shape), 0)
    return values.astype(np.int16), lesion & brain


def save(path, voxels, spacing=SPACING, signs=(1, 1, 1), codes=(0, 2)):
    """Write a volume centred on the world's origin; LAS is ``signs`` -1, 1, 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.array(spacing) * signs
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(voxels.shape) - 1) / 2
    voxels = voxels[tuple(slice(None, None, sign) for sign in signs)]
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def atlas_r12(root: Path) -> None:
    """Masks of 0 and 255, two for the first scan; the last person was scanned twice."""
    names = ["c0001s0004t01", "c0003s0002t01", "c0003s0005t01", "c0005s0001t01", "c0005s0001t02"]
    for seed, name in enumerate(names):
        part = f"standard_MNI/standard_part{1 + seed % 2}"
        folder = root / part / name[:5] / name
        scan, lesion = head(seed)
        save(folder / f"{name}_t1w_stx.nii.gz", scan)
        masks = {"": lesion}
        if seed == 0:
            masks = {"": lesion, "_1": head(99)[1]}
        for number, drawn in masks.items():
            drawn = 255 * drawn.astype(np.uint8)
            save(folder / f"{name}_LesionSmooth{number}_stx.nii.gz", drawn)
    save(root / "native" / "c0001" / "c0001s0004t01_t1w.nii.gz", head(7)[0])


def atlas_v20(root: Path) -> None:
    """Sites with a description each; one mask of fractions; ``Testing`` without masks."""
    space = "space-MNI152NLin2009aSym"
    for seed, (part, site) in enumerate(
        [*itertools.product(["Training"], [1, 1, 2, 2, 9]), ("Testing", 5), ("Testing", 14)]
    ):
        folder = root / "ATLAS_2" / part / f"R{site:03}"
        subject = f"sub-r{site:03}s{seed + 1:03}"
        stem = folder / subject / "ses-1" / "anat" / f"{subject}_ses-1_{space}"
        scan, lesion = head(seed)
        save(stem.with_name(f"{stem.name}_T1w.nii.gz"), scan.astype(np.float32), codes=(4, 4))
        (folder / "dataset_description.json").write_text(json.dumps({"Name": "ATLAS"}))
        if part == "Training":
            drawn = 0.999 * lesion.astype(np.float32) if seed == 1 else lesion.astype(np.uint8)
            mask = stem.with_name(f"{stem.name}_label-L_desc-T1lesion_mask.nii.gz")
            save(mask, drawn, codes=(4, 4))


def isles2015(root: Path) -> None:
    """Numbered folders with NIfTI or MetaImage, T2, FLAIR and DWI beside; one without a mask."""
    for number in range(1, 7):
        folder = root / "SISS2015_Training" / str(number)
        scan, lesion = head(number)
        files = {"MR_T1": scan, "MR_T2": scan, "MR_Flair": scan, "MR_DWI": scan}
        if number < 6:
            files["OT"] = lesion.astype(np.uint8)
        for index, (kind, voxels) in enumerate(files.items()):
            name = f"VSD.Brain.XX.O.{kind}.{70600 + 10 * number + index}"
            if number in (2, 3):
                metaimage(folder / name / f"{name}.{'mha' if number == 2 else 'mhd'}", voxels)
            else:
                save(folder / name / f"{name}.nii", voxels)


def metaimage(path: Path, voxels) -> None:
    """Write the volume that `save` writes as a MetaImage, whose axes point to L, P and S."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    steps = np.array(SPACING) * (-1, -1, 1)
    image.SetSpacing(SPACING)
    image.SetOrigin([float(v) for v in -steps * (np.array(voxels.shape) - 1) / 2])
    image.SetDirection([-1.0, 0, 0, 0, -1, 0, 0, 0, 1])
    sitk.WriteImage(image, str(path))


def isles2022(root: Path) -> None:
    """LAS diffusion, a FLAIR of thick slices on a grid of its own, masks among the derivatives."""
    for number in (1, 2, 4, 9, 15):
        subject = f"sub-strokecase{number:04}"
        session = root / subject / "ses-0001"
        stem = f"{subject}_ses-0001"
        scan, lesion = head(number)
        save(session / "dwi" / f"{stem}_dwi.nii.gz", scan, signs=(-1, 1, 1))
        save(session / "dwi" / f"{stem}_adc.nii.gz", 2 * scan, signs=(-1, 1, 1))
        thick = head(number, (64, 80, 7), (3.0, 2.8, 21.0))[0]
        save(session / "anat" / f"{stem}_FLAIR.nii.gz", thick, (3.0, 2.8, 21.0))
        mask = root / "derivatives" / subject / "ses-0001" / f"{stem}_msk.nii.gz"
        save(mask, lesion.astype(np.uint8), signs=(-1, 1, 1))


def arc(root: Path) -> None:
    """Masks on the T2w's grid; a session without a mask, and a mask without a T1w."""
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "ARC"}))
    for seed in range(1, 8):
        subject, session = f"sub-M20{seed:02}", f"ses-{1200 + seed}"
        name = f"{subject}_{session}"
        anat = root / subject / session / "anat"
        if seed != 7:
            save(anat / f"{name}_acq-tfl3_run-4_T1w.nii.gz", head(seed)[0])
        grid = ((50, 60, 16), (3.8, 3.8, 9.0))
        scan, lesion = head(seed, *grid)
        save(anat / f"{name}_acq-spc3_run-3_T2w.nii.gz", scan, grid[1])
        if seed != 6:
            masks = root / "derivatives" / "lesion_masks" / subject / session / "anat"
            mask = masks / f"{name}_acq-spc3_run-3_T2w_desc-lesion_mask.nii.gz"
            save(mask, lesion.astype(np.uint8), grid[1])


MAKE = {f.__name__: f for f in (atlas_r12, atlas_v20, isles2015, isles2022, arc)}
