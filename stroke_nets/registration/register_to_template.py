"""The registration as a MONAI transform, which training, prediction and every server share."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import ensure_tuple

from stroke_nets.errors import DataError
from stroke_nets.registration.register import Registration, register
from stroke_nets.registration.volume import Array, Float32, Volume, brain, placed, resampled
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.geometry import Grid, compare_grids


class RegisterToTemplated(MapTransform, InvertibleTransform):
    """Bring a scan, and other images and masks on its grid, onto the grid of ATLAS v2.0.

    The scan is registered in whatever unit, orientation and pose it lies, and resampled once
    (cubic splines; companions: trilinear; masks: nearest). Its values become 0 in air and 1 in the
    brightest tissue. A scan that lies on the template's grid already, in whatever orientation,
    stays as it is, so that the papers' data are not touched. A scan of the same bytes (``sha256``
    in its metadata, which `LoadScand` sets) is registered once a process.

    The inverse resamples what the network gave back onto the scan's own grid, once, trilinear:
    ``Invertd(keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False)``.

    The scan's metadata then hold ``registration``: ``matrix`` (4 x 4, template's mm to scan's mm),
    ``quality`` (name to number) and ``warnings`` (a line each, empty if nothing is odd).

    Example, in a bundle's configuration::

        - _target_: stroke_nets.registration.register_to_template.RegisterToTemplated
          keys: image

    Args:
        keys: the scan first, then others of the same grid; each 1 x X x Y x Z with its affine.
        spacing: of the template's grid: 1 mm (197 x 233 x 189) or a whole multiple of it.
        refuse: whether a poor registration raises an error; else it is one of the warnings.
        allow_missing_keys: skip keys that are not there.
        contrast: of the scan: ``T1w`` or ``diffusion``.
        companions: those of the keys that are images, whose values stay; the others are masks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing: int = 1,
        refuse: bool = True,
        allow_missing_keys: bool = False,
        contrast: str = T1W,
        companions: KeysCollection = (),
    ) -> None:
        """Store the grid."""
        super().__init__(keys, allow_missing_keys)
        self.spacing, self.refuse, self.contrast = spacing, refuse, contrast
        self.companions = ensure_tuple(companions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Register the scan and resample each key.

        Raises:
            DataError: the registration is poor, and ``refuse`` is set.
        """
        result = dict(data)
        scan = result[self.keys[0]]
        if self.spacing == 1 and lies_on_template(scan):
            return result
        found = registered(scan, self.contrast)
        problems, name = found.problems(), scan.meta.get("filename_or_obj", "the scan")
        if problems and self.refuse:
            raise DataError(
                f"{name}: the registration is poor ({'; '.join(problems + found.warnings())}); "
                f"give a {self.contrast} scan of a whole head"
            )
        for key in self.key_iterator(result):
            volume, order = result[key], 1 if key in self.companions else 0
            if key == self.keys[0]:
                volume, order = (volume - found.air) / found.unit, 3
            result[key] = self._onto_template(volume, found.matrix, order)
        result[self.keys[0]].meta["registration"] = described(found)
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring each key back onto the scan's own grid, trilinear; zero where the template ends."""
        result = dict(data)
        for key in self.key_iterator(result):
            applied = result[key].applied_operations
            if not applied or applied[-1]["class"] != type(self).__name__:
                continue  # it lay on the template's grid
            done = self.pop_transform(result[key])
            matrix, affine = (np.array(done["extra_info"][name]) for name in ("matrix", "affine"))
            back = np.linalg.inv(result[key].affine.numpy()) @ np.linalg.inv(matrix) @ affine
            onto = functools.partial(resampled, there=back, shape=done["orig_size"])
            result[key] = _moved(result[key], affine, onto)
        return result

    def _onto_template(self, volume: MetaTensor, matrix: Array, order: int) -> MetaTensor:
        affine, size = volume.affine.numpy(), tuple(volume.shape[1:])
        grid, shape = template_grid(self.spacing)
        there = np.linalg.inv(affine) @ matrix @ grid
        onto = placed if order == 3 else functools.partial(resampled, order=order)
        moved = _moved(volume, grid, lambda channel: onto(channel, there, shape))
        info = {"matrix": matrix.tolist(), "affine": affine.tolist()}
        self.push_transform(moved, orig_size=size, extra_info=info)
        return moved


def lies_on_template(scan: MetaTensor) -> bool:
    """Whether a scan has the template's grid at 1 mm, in whatever orientation."""
    template = brain()
    grid = Grid(tuple(scan.shape[1:]), scan.affine.cpu().numpy())
    return compare_grids("", Grid(template.voxels.shape, template.affine), grid) is None


_known: dict[tuple[str, str], Registration] = {}  # of this process, by SHA-256 and contrast


def registered(scan: MetaTensor, contrast: str) -> Registration:
    """Where a scan lies; one of the same bytes is not registered again."""
    digest = scan.meta.get("sha256")
    if digest is None:
        return register(as_volume(scan), contrast=contrast)
    if (digest, contrast) not in _known:
        _known[digest, contrast] = register(as_volume(scan), contrast=contrast)
    return _known[digest, contrast]


def _moved(volume: MetaTensor, affine: Array, onto: Callable[[Float32], Float32]) -> MetaTensor:
    """A volume (C x X x Y x Z) on another grid.

    Args:
        volume: its operations and metadata are kept, its affine is not.
        affine: of the other grid.
        onto: resamples a channel.
    """
    voxels = volume.detach().cpu().numpy().astype(np.float32, copy=False)
    meta = volume.meta | {"affine": torch.as_tensor(affine)}
    done = volume.applied_operations
    return MetaTensor(np.stack([onto(one) for one in voxels]), meta=meta, applied_operations=done)


def as_volume(scan: MetaTensor) -> Volume:
    """A scan, 1 x X x Y x Z, with its axes about right, anterior, superior."""
    image: Any = nib.Nifti1Image(scan[0].detach().cpu().numpy(), scan.affine.cpu().numpy())
    image = nib.as_closest_canonical(image)
    return Volume(np.asarray(image.dataobj, np.float32), image.affine)


def template_grid(spacing: int) -> tuple[Array, tuple[int, ...]]:
    """Affine and shape of the template's grid with voxels of ``spacing`` mm."""
    template = brain()
    shape = tuple(-(-side // spacing) for side in template.voxels.shape)
    return template.affine @ np.diag([spacing, spacing, spacing, 1.0]), shape


def described(found: Registration) -> dict[str, Any]:
    """A registration as metadata, in what MONAI collates."""
    quality = {} if found.quality is None else found.quality.as_dict()
    odd = "\n".join([*found.problems(), *found.warnings()])
    return {"matrix": torch.as_tensor(found.matrix), "quality": quality, "warnings": odd}
