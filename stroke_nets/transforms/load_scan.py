"""Load scans with the project's strict reader."""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import nibabel as nib
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor, NibabelReader
from monai.transforms import EnsureChannelFirst, MapTransform, Orientation
from monai.transforms.io.array import switch_endianness
from monai.utils import ImageMetaKey as MetaKeys

from stroke_nets.scans.check import Rules, require_same_grid
from stroke_nets.scans.reader import Scan, logged, read_scan
from stroke_nets.scans.voxels import require_image, require_mask


def load(scan: Scan) -> MetaTensor:
    """A scan as MONAI's ``LoadImage`` returns it, 1 x X x Y x Z, float32.

    The metadata contain the header's sform and qform codes and units, so that a mask can be written
    with them (`stroke_nets.scans.writer.HeaderWriter`). ``LoadImage`` itself makes all of MONAI's
    readers, one of which warns if pydicom is installed without nvImageCodec (MONAI 1.6.1).
    """
    reader = NibabelReader()
    reader.filenames = (str(scan.path),)  # otherwise set by its method that opens the file
    voxels, meta = reader.get_data(scan.image)
    meta = switch_endianness(meta, "<") | {MetaKeys.FILENAME_OR_OBJ: str(scan.path)}
    volume = MetaTensor.ensure_torch_and_prune_meta(voxels.astype(np.float32, copy=False), meta)
    return cast(MetaTensor, EnsureChannelFirst()(volume))


def as_nifti(volume: MetaTensor) -> nib.Nifti1Image:
    """Convert a volume (1 x X x Y x Z) to a NiBabel image, to compare grids."""
    return nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy())


class LoadScand(MapTransform):
    """Load NIfTI files as 1 x X x Y x Z float32 tensors on their own grid.

    Unlike MONAI's ``LoadImaged``, it does not hide a reader's error. Files are verified against the
    SHA-256 in the case's manifest record, if there is one. Their digests are in the metadata, as
    ``sha256``.

    Args:
        keys: dictionary keys of paths, or of a `Scan` that is already open; the first is the scan,
            the others must lie on its grid and are reoriented to it. Values of ``label`` must be
            0 or 1.
        allow_missing_keys: skip missing keys.
        reading: fields of `stroke_nets.scans.check.Rules`: unusual files to accept; default none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        allow_missing_keys: bool = False,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the keys and rules."""
        super().__init__(keys, allow_missing_keys)
        self.rules = Rules.of(reading or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load each key.

        Raises:
            DataError: a file cannot be read, is invalid, or lies on a grid other than the scan's.
        """
        result = dict(data)
        sums = data.get("record", {}).get("sha256", {})
        scan = None
        for key in self.key_iterator(result):
            opened = self._open(data[key], sums.get(key))
            volume = load(opened)
            volume = self._fit(key, str(opened.path), volume)
            volume.meta["sha256"] = opened.digest
            if scan is None:
                scan = as_nifti(volume)
            else:
                kind = "mask" if key in ("label", "pred") else "image"
                require_same_grid(scan, as_nifti(volume), str(opened.path), kind)
                volume = _turned(volume, nib.aff2axcodes(scan.affine))
            result[key] = volume
        return result

    def _open(self, given: Any, sha256: str | None) -> Scan:
        if isinstance(given, Scan):
            return given
        return logged(read_scan(str(given), sha256=sha256, **self.rules.opening))

    def _fit(self, key: Hashable, name: str, volume: MetaTensor) -> MetaTensor:
        """The volume with validated values; predictions may have any."""
        voxels = volume.numpy()
        if key == "label":
            fixed = require_mask(name, voxels, self.rules.binarize)
        elif key == "pred":
            return volume
        else:
            fixed = require_image(name, voxels, self.rules.nonfinite)
        return MetaTensor(fixed.astype(np.float32, copy=False), meta=volume.meta)


def _turned(volume: MetaTensor, axes: tuple[str, ...]) -> MetaTensor:
    """Reorient a volume to the given axis codes."""
    if nib.aff2axcodes(volume.affine.numpy()) == axes:
        return volume
    turn = Orientation("".join(axes), labels=None)
    turn.tracing = False  # this becomes the case's own orientation, so there is nothing to invert
    return cast(MetaTensor, turn(volume))
