"""N4 bias correction: estimated on a shrunk scan, applied at full size."""

import numpy as np
from scipy import ndimage

from stroke_nets.registration.itk_bridge import load_itk, to_itk, to_itk_mask
from stroke_nets.registration.volume import Float32, Volume

SHRINK_MM = 4.0


def correct_bias(scan: Volume) -> Volume:
    """Divide a scan by its bias field (N4, Tustison et al. 2010).

    The field is smooth, so it is estimated on voxels of about 4 mm, in what Otsu's threshold
    takes for the head, and then interpolated to every voxel of the scan.

    Args:
        scan: T1w scan.

    Returns:
        The scan without its field, on its own grid.
    """
    itk = load_itk()
    sizes = np.linalg.norm(scan.affine[:3, :3], axis=0)
    steps = np.maximum(np.rint(SHRINK_MM / sizes).astype(int), 1)
    small = scan.voxels[:: steps[0], :: steps[1], :: steps[2]]
    affine = scan.affine @ np.diag([*steps, 1])
    positive = np.maximum(small, 0) + np.float32(1e-3 * small.max())
    image = to_itk(Volume(positive.astype(np.float32), affine))
    otsu = itk.OtsuThresholdImageFilter.New(image, InsideValue=0, OutsideValue=1)
    otsu.Update()
    mask = itk.array_from_image(otsu.GetOutput()).T > 0
    n4 = itk.N4BiasFieldCorrectionImageFilter.New(
        image,
        MaskImage=to_itk_mask(mask, affine),
        NumberOfFittingLevels=4,
        MaximumNumberOfIterations=[30] * 4,
    )
    n4.Update()
    corrected = itk.array_from_image(n4.GetOutput()).T
    field = np.log(itk.array_from_image(image).T / np.maximum(corrected, 1e-6))
    full = ndimage.affine_transform(
        field, 1 / steps, output_shape=scan.voxels.shape, order=1, mode="nearest"
    )
    return Volume((scan.voxels / np.exp(full)).astype(np.float32), scan.affine)


def scaled(scan: Volume, share: float = 99.5) -> Volume:
    """The scan divided by a high percentile of its head, negative values cut off."""
    voxels = np.maximum(scan.voxels, 0)
    high: Float32 = np.percentile(voxels[voxels > voxels.mean()], share)
    return Volume(np.minimum(voxels / high, 1.5).astype(np.float32), scan.affine)
