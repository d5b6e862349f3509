"""Small NIfTI files for tests, good and bad."""

import nibabel as nib
import numpy as np

SHAPE = (6, 7, 8)


def voxels(shape=SHAPE, dtype=np.int16):
    """Every voxel another value, so that no order or byte can change unseen."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def mask(shape=SHAPE):
    lesion = np.zeros(shape, np.uint8)
    lesion[2:4, 2:5, 3:6] = 1
    return lesion


def affine(*codes, spacing=(1.0, 1.0, 1.0)):
    matrix = np.diag([s * c for s, c in zip(spacing, codes or (1, 1, 1), strict=True)] + [1.0])
    matrix[:3, 3] = (-10, 20, 5)
    return matrix


def save(path, array=None, matrix=None, kind=nib.Nifti1Image, **fields):
    """Write a file; ``fields`` are put into its header as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = voxels() if array is None else array
    image = kind(array, affine() if matrix is None else matrix, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    if fields:
        edit(path, **fields)
    return path


def edit(path, **fields):
    """Overwrite header fields of an uncompressed file, unchecked."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
