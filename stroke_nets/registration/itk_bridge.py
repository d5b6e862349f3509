"""The way to ITK and back: its world is LPS, its arrays are turned."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroke_nets.errors import UsageError
from stroke_nets.registration.volume import Array, Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load_itk() -> Any:
    """ITK with elastix, on one thread; loading it takes seconds, so only who needs it asks.

    The images that are registered are small: on a busy machine two threads took more
    than four times the processor time of one, waiting for each other.

    Raises:
        UsageError: itk-elastix is not installed.
    """
    try:
        import itk

        itk.ElastixRegistrationMethod  # noqa: B018  an attribute only if elastix is there
    except (ImportError, AttributeError) as error:
        raise UsageError(
            "itk-elastix is not installed; pip install 'stroke-nets[normalize]'"
        ) from error
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    return itk


def to_itk(volume: Volume) -> Any:
    """A volume as an ITK image of floats, in the same place."""
    return _placed(volume.voxels.astype(np.float32, copy=False), volume.affine)


def to_itk_mask(mask: NDArray[np.bool_], affine: Array) -> Any:
    """A mask as an ITK image of bytes, in the same place."""
    return _placed(mask.astype(np.uint8), affine)


def _placed(voxels: NDArray[Any], affine: Array) -> Any:
    itk = load_itk()
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    affine = LPS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine[:3, :3] / spacing)))
    return image


def from_lps(matrix: Array) -> Array:
    """A (4, 4) map between LPS worlds as the map between RAS worlds."""
    return LPS @ matrix @ LPS
