"""A prediction folder as ``stroke-nets predict`` writes it, small: two cases, one hostile."""

import csv
import json

import nibabel as nib
import numpy as np

from stroke_nets.pages.prediction_case import Volumes

SHAPE = (24, 30, 20)
AFFINE = np.array([[-1.5, 0, 0, 20], [0, 1.5, 0, -25], [0, 0, 2, -15], [0, 0, 0, 1.0]])
SECRET = "DOE^JANE"
WARNING = "lesion 1 touches the border <b>&"


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header["descrip"] = SECRET
    nib.save(image, path)


def volumes(lesions):
    """A scan in LAS with a head, and a mask with the lesions' boxes."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(SHAPE)
    head = ((x - 12) / 10) ** 2 + ((y - 15) / 13) ** 2 + ((z - 10) / 9) ** 2 < 1
    scan = (head * (80 + 20 * rng.random(SHAPE))).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    for box in lesions:
        mask[tuple(slice(*side) for side in box)] = 1
    return scan, mask


def write_case(out, scan, stem, lesions, uncertainty=True):
    """The files of one case; returns its sidecar."""
    voxels, mask = volumes(lesions)
    save(scan, voxels)
    base = out / stem.split("_")[0] / "anat" / f"{stem}_desc-unet"
    save(base.with_name(f"{base.name}_mask.nii.gz"), mask)
    save(base.with_name(f"{base.name}_probseg.nii.gz"), 0.9 * mask.astype(np.float32))
    if uncertainty:
        save(base.with_name(f"{base.name}_uncertainty.nii.gz"), 0.1 * mask.astype(np.float32))
    with base.with_name(f"{base.name}_lesions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion", "volume_ml", "hemisphere"])
        for number, box in enumerate(lesions, start=1):
            voxel_count = np.prod([end - start for start, end in box])
            writer.writerow([number, voxel_count * 4.5 / 1000, "left"])
    sidecar = base.with_name(f"{base.name}_mask.json")
    facts = {"Method": "unet", "Weights": [{"sha256": "0" * 64, "file": "/home/jane/best.pt"}]}
    warnings = [WARNING] if uncertainty else []
    sidecar.write_text(json.dumps(facts | {"Warnings": warnings}))
    return sidecar


def write_folder(root):
    """An output folder of two cases: two lesions with uncertainty; an empty mask without."""
    out = root / "out"
    boxes = [((4, 9), (8, 14), (6, 11)), ((15, 17), (18, 20), (12, 14))]
    cases = {
        "sub-1": write_case(out, root / "in" / "sub-1_T1w.nii.gz", "sub-1", boxes),
        "sub-2": write_case(out, root / "in" / "sub-2_T1w.nii.gz", "sub-2", [], False),
    }
    (out / "dataset_description.json").write_text("{}")
    return out, {root / "in" / f"{name}_T1w.nii.gz": sidecar for name, sidecar in cases.items()}


def as_volumes(scan, mask, maps):
    return Volumes(scan, mask > 0, maps, AFFINE)
