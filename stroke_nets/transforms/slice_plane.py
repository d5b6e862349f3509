"""Resample a scan to AGMR-Net's 192 x 192 slices, and predictions exactly back to its grid.

AGMR-Net's Sec. 4.1 gives the size of the crop, 180 x 180, and of the plane, 192 x 192. The crop's
position is D-UNet's on the ATLAS grid (``data_load.py`` of its code), and ours elsewhere.
"""

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, InvertibleTransform, MapTransform, Pad, Resize
from monai.utils import ensure_tuple_rep

ATLAS_GRID = (197, 233, 189)  # MNI152NLin2009aSym at 1 mm
ATLAS_BOX = (10, 40)  # x 10:190, y 40:220, D-UNet's data_load.py
EXTENT_MM = 180.0  # Sec. 4.1
OWN_BOXES = {(192, 224): (2, 5)}  # X-Net's data.py: x 2:194, y 5:229, not resized

logger = logging.getLogger(__name__)


def plane_box(
    image: MetaTensor, extent_mm: tuple[float, float] = (EXTENT_MM, EXTENT_MM)
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The in-plane box that the network sees.

    On the ATLAS grid it is x 10:190, y 40:220, or X-Net's own box if the extent is X-Net's. On
    other grids, and for other extents, it is rounded to whole voxels and centred on the centroid
    of the voxels brighter than the volume's mean.

    Args:
        image: 1 x X x Y x Z in RAS orientation.
        extent_mm: sides of the box along x and y.

    Returns:
        First voxel and number of voxels along x and y; the box may extend beyond the volume.
    """
    spacing = [float(mm) for mm in image.pixdim[:2]]
    sides = tuple(round(side / mm) for side, mm in zip(extent_mm, spacing, strict=True))
    boxes = {(180, 180): ATLAS_BOX} | OWN_BOXES
    if tuple(image.shape[1:]) == ATLAS_GRID and sides == tuple(extent_mm) and sides in boxes:
        return boxes[sides], (sides[0], sides[1])
    voxels = image.as_tensor()[0]
    plane = (voxels > voxels.mean()).sum(dim=2, dtype=torch.float64)
    mass = plane.sum()
    starts = []
    for axis, side in enumerate(sides):
        n = plane.shape[axis]
        weights = plane.sum(dim=1 - axis)
        centre = (weights @ torch.arange(n).double() / mass).item() if mass > 0 else (n - 1) / 2
        starts.append(round(centre - (side - 1) / 2))
    return (starts[0], starts[1]), (sides[0], sides[1])


class SlicePlaned(MapTransform, InvertibleTransform):
    """Crop (and pad where necessary) each slice to 180 x 180 mm and resize it to 192 x 192.

    Scans are padded with their minimum (zero after scaling), masks with zero. Lesion voxels outside
    the box are counted and logged.

    Args:
        keys: the scan first; it determines the box for all.
        size: pixels along each side of the plane. A pair (x, y) is a box of that many millimetres
            with pixels of 1 mm: X-Net's and CLCI-Net's own input.
        mode: interpolation of each key: ``trilinear`` (antialiased) for scans, ``nearest-exact``
            for masks.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int | Sequence[int] = 192,
        mode: str | tuple[str, ...] = ("trilinear", "nearest-exact"),
        allow_missing_keys: bool = False,
    ) -> None:
        """Prepare one resize for each key."""
        super().__init__(keys, allow_missing_keys)
        self.modes = ensure_tuple_rep(mode, len(self.keys))
        self.extent_mm = (EXTENT_MM, EXTENT_MM) if isinstance(size, int) else (size[0], size[1])
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self.resizes = [
            Resize((*sides, -1), mode=m, anti_aliasing=m == "trilinear") for m in self.modes
        ]
        self.pad, self.crop = Pad(), Crop()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key (1 x X x Y x Z, RAS) to 1 x 192 x 192 x Z."""
        result = dict(data)
        starts, sides = plane_box(result[self.keys[0]], self.extent_mm)
        for key, resize in self.key_iterator(result, self.resizes):
            volume = result[key]
            fill = float(volume.min()) if resize.mode == "trilinear" else 0.0
            boxed = self._cut_out(volume, starts, sides, fill)
            if resize.mode != "trilinear":
                _report_cut(volume, boxed)
            result[key] = resize(boxed)
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each key to the scan's own grid in RAS orientation; zero outside the box."""
        result = dict(data)
        for key, resize in self.key_iterator(result, self.resizes):
            result[key] = self.pad.inverse(self.crop.inverse(resize.inverse(result[key])))
        return result

    def _cut_out(
        self, volume: MetaTensor, starts: tuple[int, int], sides: tuple[int, int], fill: float
    ) -> MetaTensor:
        ends = [start + side for start, side in zip(starts, sides, strict=True)]
        before = [max(0, -start) for start in starts]
        after = [max(0, end - n) for end, n in zip(ends, volume.shape[1:3], strict=True)]
        margins: Any = [(0, 0), *zip(before, after, strict=True), (0, 0)]
        padded = self.pad(volume, to_pad=margins, mode="constant", value=fill)
        first = [start + b for start, b in zip(starts, before, strict=True)]
        box = [slice(f, f + side) for f, side in zip(first, sides, strict=True)]
        boxed: Any = self.crop(padded, slices=(*box, slice(None)))
        return boxed


def _report_cut(before: MetaTensor, after: MetaTensor) -> None:
    lost = int((before > 0).sum() - (after > 0).sum())
    if lost:
        name = before.meta.get("filename_or_obj", "mask")
        logger.warning("%s: %d lesion voxels lie outside the box", name, lost)
