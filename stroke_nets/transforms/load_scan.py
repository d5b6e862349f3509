"""Load scans through the project's strict reader."""

from collections.abc import Hashable, Mapping
from typing import Any

import nibabel as nib
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform

from stroke_nets.data.check import require_same_grid
from stroke_nets.data.reader import StrictReader


def as_nifti(volume: MetaTensor) -> nib.Nifti1Image:
    """A volume (1 x X x Y x Z) as NiBabel has it, to compare grids."""
    return nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy())


class LoadScand(MapTransform):
    """Load NIfTI files as 1 x X x Y x Z float32 tensors on their own grid.

    MONAI's ``LoadImaged`` hides a reader's error; here it arrives as it was raised.

    Args:
        keys: dictionary keys that hold paths; the first is the scan, the others lie on its grid.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        """Store the keys."""
        super().__init__(keys, allow_missing_keys)
        self.load = LoadImage(image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load each key.

        Raises:
            DataError: a file cannot be read, or lies on another grid than the scan.
        """
        result = dict(data)
        headers = {}
        for key in self.key_iterator(result):
            result[key] = self.load(data[key], reader=StrictReader())
            headers[key] = as_nifti(result[key])
        scan, *others = headers
        for key in others:
            require_same_grid(headers[scan], headers[key], str(data[key]))
        return result
