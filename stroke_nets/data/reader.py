"""The one strict way to open a scan: whatever fails names the file and how to mend it."""

import hashlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import NibabelReader
from monai.utils import ensure_tuple
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from stroke_nets.errors import DataError

ENDINGS = (".nii.gz", ".nii")


def is_nifti(path: Path | str) -> bool:
    """Whether the file's name ends as a NIfTI file's does."""
    return str(path).endswith(ENDINGS)


def open_scan(path: Path | str) -> Any:
    """Open a NIfTI file and decode its voxels.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.

    Returns:
        The `nibabel.Nifti1Image` with its voxels in memory and its header as stored.

    Raises:
        DataError: the file is missing, is not NIfTI, is cut short or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path or the manifest")
    if not is_nifti(path):
        raise DataError(f"{path}: not a NIfTI file; give one that ends in {' or '.join(ENDINGS)}")
    try:
        image: Any = nib.load(path)
        voxels = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError) as error:
        raise DataError(f"{path}: not a NIfTI file ({error}); export it as NIfTI again") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: damaged or cut short ({error}); copy it again") from error
    return type(image)(voxels, image.affine, image.header)


def sha256(path: Path | str) -> str:
    """The SHA-256 checksum of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class StrictReader(NibabelReader):
    """MONAI's NIfTI reader, opening every file through `open_scan`.

    The header's sform and qform codes and units travel in the metadata, so that a mask can be
    written with them (`stroke_nets.data.writer.HeaderWriter`).
    """

    def read(self, data: Sequence[PathLike | str] | PathLike | str, **kwargs: Any) -> Any:
        """Open one file or several of one shape.

        Raises:
            DataError: a file cannot be read.
        """
        self.filenames = ensure_tuple(data)
        images = [open_scan(str(name)) for name in self.filenames]
        return images if len(images) > 1 else images[0]
