"""Sources of patients: anatomies and lesion masks, resampled once into the template's box.

`prepare` writes a folder and `read_sources` reads one part of it; without a folder, the template is
the only anatomy and all lesions are random. Parts share neither anatomies nor masks: the last
anatomy is for reporting, the two before it for validation; a hash of its name assigns a mask.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import whole
from stroke_nets.progress import track
from stroke_nets.registration.volume import Volume, read
from stroke_nets.scans.reader import is_nifti
from stroke_nets.synthesis.head import VENTRICLE as VENTRICLE_LABEL
from stroke_nets.synthesis.head import head
from stroke_nets.synthesis.t1w.tissues import FLUID, GREY, MENINGES, TISSUES, VENTRICLE, WHITE
from stroke_nets.transforms.brain_box import AFFINE, SHAPE, brain_mask

PARTS = ("train", "validate", "report")
HELD_OUT = {"validate": slice(-3, -1), "report": slice(-1, None)}  # of the anatomies
SMALLEST_ML = 0.03  # of a mask in the box
LISTED = "sources.json"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sources:
    """Anatomies and masks of one part.

    Attributes:
        anatomies: fraction of each of `TISSUES` in each voxel, in 255ths, (N, T, X, Y, Z).
        masks: lesion fraction of each voxel, in 255ths, (M, X, Y, Z); M may be 0.
        mask_ml: volume of each mask, (M,).
    """

    anatomies: Bytes
    masks: Bytes
    mask_ml: NDArray[np.float64]


def read_sources(folder: Path | str | None, part: str = "train") -> Sources:
    """The anatomies and masks of one part of a prepared folder.

    Args:
        folder: written by `prepare`; None for the template and random lesions.
        part: ``train``, ``validate`` or ``report``.

    Raises:
        UsageError: there is no such part.
        DataError: the folder was not prepared.
    """
    if part not in PARTS:
        raise UsageError(f"part {part}: choose {', '.join(PARTS)}")
    if folder is None:
        return Sources(template_anatomy()[None], np.zeros((0, *SHAPE), np.uint8), np.zeros(0))
    folder = Path(folder)
    if not (folder / LISTED).is_file():
        raise DataError(f"{folder}: holds no {LISTED}; prepare it with examples/train_weights.py")
    listed = json.loads((folder / LISTED).read_text())
    anatomies = np.load(folder / "anatomies.npy", mmap_mode="r")
    masks = np.load(folder / "masks.npy", mmap_mode="r")
    held_out = HELD_OUT.get(part, slice(None, -3))
    mine = np.array([mask_part(mask["name"]) == part for mask in listed["masks"]], dtype=bool)
    ml = np.array([mask["ml"] for mask in listed["masks"]])
    return Sources(anatomies[held_out], masks[np.flatnonzero(mine)], ml[mine])


def mask_part(name: str) -> str:
    """The part to which a mask belongs: ``train`` (8 of 10), ``validate`` or ``report``."""
    tenth = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "train" if tenth < 8 else "validate" if tenth == 8 else "report"


def prepare(anatomies: Path, masks: Sequence[Path], out: Path) -> None:
    """Resample label maps and lesion masks into the box, once.

    Args:
        anatomies: folder of at least four label maps of whole heads with SynthSeg's training
            labels. Each is painted as a T1w scan and registered to the template.
        masks: folders of lesion masks in MNI space.
        out: folder to write.

    Raises:
        UsageError: ``out`` was prepared before, or a folder holds too few files.
        DataError: a file cannot be read, or a head cannot be registered.
    """
    if (out / LISTED).exists():
        raise UsageError(f"{out} is prepared already; delete it or choose another folder")
    maps = _files(anatomies, least=4)
    lesions = [file for folder in masks for file in _files(folder, least=1)]
    out.mkdir(parents=True, exist_ok=True)
    shares = np.stack([share_tissues(read(file)) for file in track(maps, "reading anatomies")])
    shares_of = {file: share_lesion(read(file)) for file in track(lesions, "reading masks")}
    kept = {f: share for f, share in shares_of.items() if _ml(share) >= SMALLEST_ML}
    for name, array in (("anatomies", shares), ("masks", np.stack(list(kept.values())))):
        with whole(out / f"{name}.npy") as partial, partial.open("wb") as stream:
            np.save(stream, array)
    listed: dict[str, Any] = {"anatomies": [file.name for file in maps]}
    listed["masks"] = [{"name": f.name, "ml": round(_ml(share), 3)} for f, share in kept.items()]
    with whole(out / LISTED) as partial:
        partial.write_text(json.dumps(listed, indent=1) + "\n")


def _files(folder: Path, least: int) -> list[Path]:
    files = sorted(path for path in folder.glob("*") if is_nifti(path))
    if len(files) < least:
        raise UsageError(
            f"{folder}: holds {len(files)} NIfTI files; give a folder of {least} or more"
        )
    return files


def _ml(share: Bytes) -> float:
    return float(share.sum(dtype=np.float64) / 255 * 0.008)


def share_lesion(mask: Volume) -> Bytes:
    """The lesion fraction of each voxel of the box, in 255ths."""
    return _pooled(_at_1mm((mask.voxels > 0).astype(np.float32), mask.affine, order=1))


def share_tissues(labels: Volume) -> Bytes:
    """The fraction of each of `TISSUES` in each voxel of the box, in 255ths, (T, X, Y, Z).

    Raises:
        DataError: the head cannot be registered.
    """
    tissue_of = np.zeros(int(labels.voxels.max()) + 1, np.int64)
    for index, tissue in enumerate(TISSUES):
        tissue_of[[label for label in tissue.labels if label < len(tissue_of)]] = index
    tissues = tissue_of[labels.voxels.astype(np.int64)].astype(np.uint8)
    means = np.array([tissue.mean for tissue in TISSUES], np.float32)
    matrix = _registered(Volume(means[tissues], labels.affine))
    here = _at_1mm(tissues, np.linalg.inv(matrix) @ labels.affine, order=0)
    return np.stack([_pooled(here == index) for index in range(len(TISSUES))])


def _registered(painted: Volume) -> NDArray[np.float64]:
    """The map from the template's mm to the head's."""
    from stroke_nets.registration.register import register  # only this function needs niimath

    found = register(painted)
    if found.problems():
        raise DataError(f"an anatomy cannot be registered: {'; '.join(found.problems())}")
    return found.matrix


def _at_1mm(voxels: NDArray[Any], affine: NDArray[Any], order: int) -> NDArray[Any]:
    """Resample voxels of any grid to the box at 1 mm, twice its resolution."""
    fine = AFFINE @ nib.affines.from_matvec(np.eye(3) / 2, (-0.25, -0.25, -0.25))
    there = np.linalg.inv(affine) @ fine
    shape = tuple(2 * side for side in SHAPE)
    return np.asarray(
        ndimage.affine_transform(voxels, there[:3, :3], there[:3, 3], shape, order=order)
    )


def _pooled(fine: NDArray[Any]) -> Bytes:
    """The mean of the eight fine voxels in each voxel of the box, in 255ths."""
    x, y, z = SHAPE
    means = fine.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return np.rint(255 * means).astype(np.uint8)


@functools.cache
def template_anatomy() -> Bytes:
    """The template's tissues, (T, X, Y, Z): brain, ventricles and outer fluid; no skull."""
    from nilearn import datasets  # imported here because it takes seconds

    grey, white = datasets.load_mni152_gm_template(1), datasets.load_mni152_wm_template(1)
    ventricle = np.zeros(grey.shape, np.float32)
    ventricle[head().box] = head().label == VENTRICLE_LABEL
    shares = np.zeros((len(TISSUES), *SHAPE), np.uint8)
    for tissue, voxels in (
        (GREY, np.asarray(grey.dataobj, np.float32) * (1 - ventricle)),
        (WHITE, np.asarray(white.dataobj, np.float32) * (1 - ventricle)),
        (VENTRICLE, ventricle),
    ):
        shares[tissue] = _pooled(_at_1mm(voxels, grey.affine, order=1))
    mask = brain_mask().numpy()
    rest = (255 - shares.sum(axis=0, dtype=np.int64)).clip(0)
    shares[FLUID] = rest * ndimage.binary_erosion(mask)
    shares[MENINGES] = rest * (mask & ~ndimage.binary_erosion(mask))
    return shares
