"""Deformable registration on top of the affine map, by cubic B-splines."""

import tempfile

import numpy as np

from stroke_nets.registration.affine import VOXEL_MM, run_elastix
from stroke_nets.registration.itk_bridge import load_itk, to_itk
from stroke_nets.registration.volume import Array, Volume

GRID_MM = 24  # distance of the splines' knots: too far apart to close a lesion


def deform(brain: Volume, scan: Volume, matrix: Array, iterations: int = 300) -> list[Volume]:
    """How far each place of the template moves before the affine map takes it to the scan.

    Args:
        brain: the template, 0 outside of the brain.
        scan: T1w scan, bias-corrected.
        matrix: the affine map, template's mm to scan's mm.
        iterations: of the optimiser, at each of three resolutions.

    Returns:
        Displacement in mm along right, anterior and superior, one volume each.
    """
    itk = load_itk()
    fixed = brain.thinned(VOXEL_MM)
    thin = scan.thinned(VOXEL_MM)
    moving = Volume(thin.voxels, np.linalg.inv(matrix) @ thin.affine)
    found = run_elastix(
        fixed, moving, ("BSplineTransform",), iterations, FinalGridSpacingInPhysicalUnits=GRID_MM
    )
    transformix = itk.TransformixFilter.New(to_itk(moving))
    transformix.SetTransformParameterObject(found)
    transformix.SetComputeDeformationField(True)
    with tempfile.TemporaryDirectory() as folder:  # it writes the field into a file as well
        transformix.SetOutputDirectory(folder)
        transformix.UpdateLargestPossibleRegion()
        field = itk.array_from_image(transformix.GetOutputDeformationField()).T  # 3, X, Y, Z; LPS
    return [
        Volume(np.ascontiguousarray(sign * part), fixed.affine)
        for sign, part in zip((-1, -1, 1), field, strict=True)
    ]
