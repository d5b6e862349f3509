"""Write a mask with the scan's grid, affine, form codes and units."""

import gzip
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import NibabelWriter

from stroke_nets.files import whole
from stroke_nets.scans.formats import bare
from stroke_nets.scans.geometry import unit_mm

TEMPLATE_OTHER = 5  # the highest of NIfTI's form codes


def mask_path(folder: Path, scan: str, postfix: str = "pred") -> Path:
    """Where MONAI's ``SaveImaged`` writes the mask of ``scan``, a path relative to the data."""
    return folder / Path(scan).parent / f"{bare(Path(scan).name)}_{postfix}.nii.gz"


def _known(code: Any) -> int:
    """A form code that NIfTI defines; NiBabel reads others as 0 and ignores the affine."""
    return int(code) if 0 <= code <= TEMPLATE_OTHER else int(code > 0)


class HeaderWriter(NibabelWriter):
    """MONAI's NIfTI writer with the scan's form codes (MONAI would set them to 1) and units.

    Files are written atomically.
    """

    def set_data_array(
        self,
        data_array: Any,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = True,
        **options: Any,
    ) -> None:
        """Take the voxels of one channel; unlike in MONAI, a single slice keeps its axis."""
        super().set_data_array(data_array, channel_dim, squeeze_end_dims=False, **options)
        self.data_obj = self.data_obj[..., 0]

    def set_metadata(
        self, meta_dict: Mapping | None, resample: bool = True, **options: Any
    ) -> None:
        """Take affine, codes and units from the scan's header; nothing is resampled.

        MONAI's method, which resamples, fails on single slices and on axis orders such as LIA.
        """
        self.header = dict(meta_dict or {})
        self.affine = np.asarray(self.header["affine"], dtype=float)

    def write(self, filename: PathLike | str, verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the mask to ``filename`` atomically."""
        image = self.create_backend_obj(
            self.data_obj, affine=self.affine, dtype=self.output_dtype, **obj_kwargs
        )
        affine = self.affine.copy()
        affine[:3] /= unit_mm({"xyzt_units": self.header.get("xyzt_units", 2)})
        image.set_sform(affine, code=_known(self.header.get("sform_code", 1)))
        image.set_qform(affine, code=_known(self.header.get("qform_code", 1)))
        image.header["xyzt_units"] = int(self.header.get("xyzt_units", 2))
        path = Path(filename)
        content = image.to_bytes()
        if path.name.endswith(".gz"):
            content = gzip.compress(content, compresslevel=1, mtime=0)  # reproducible bytes
        with whole(path) as partial:
            partial.write_bytes(content)
