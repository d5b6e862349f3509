"""Rigid, then affine registration by mutual information, with elastix."""

from typing import Any

import numpy as np

from stroke_nets.registration.itk_bridge import from_lps, load_itk, to_itk, to_itk_mask
from stroke_nets.registration.volume import Array, Volume, dilated

VOXEL_MM = 2.0  # of both images while they are registered; samples lie between voxels


def register(brain: Volume, scan: Volume, start: Array, iterations: int = 256) -> Array:
    """Fit a scan to the template by an affine map.

    The template ends at the brain and the scan has a skull: the fixed mask, the brain and a margin,
    keeps the brain from being fitted to the scalp.

    Args:
        brain: the template, 0 outside of the brain.
        scan: T1w scan, bias-corrected.
        start: about the map, (4, 4); turn, shift and one scale.
        iterations: of the optimiser, at each of three resolutions.

    Returns:
        The map from the template's mm to the scan's mm, (4, 4).
    """
    fixed = brain.thinned(VOXEL_MM)
    thin = scan.thinned(VOXEL_MM)
    moving = Volume(thin.voxels, np.linalg.inv(start) @ thin.affine)
    found = run_elastix(fixed, moving, ("EulerTransform", "AffineTransform"), iterations)
    rigid, affine = (found.GetParameterMap(number) for number in (0, 1))
    return start @ from_lps(_matrix(affine) @ _matrix(rigid))


def run_elastix(
    fixed: Volume, moving: Volume, transforms: tuple[str, ...], iterations: int, **more: object
) -> Any:
    """Run elastix, one stage for each transform, each from where the one before it ended.

    Args:
        fixed: brain only; the mask is the brain and a margin.
        moving: with a skull.
        transforms: elastix's names.
        iterations: at each resolution.
        more: further parameters of every stage.

    Returns:
        elastix's parameter object of the transforms found.
    """
    itk = load_itk()
    stages = itk.ParameterObject.New()
    for transform in transforms:
        stages.AddParameterMap(_stage(stages, transform, iterations, more))
    method = itk.ElastixRegistrationMethod.New(to_itk(fixed), to_itk(moving))
    method.SetFixedMask(to_itk_mask(dilated(fixed), fixed.affine))
    method.SetParameterObject(stages)
    method.SetLogToConsole(False)
    method.UpdateLargestPossibleRegion()
    return method.GetTransformParameterObject()


def _stage(stages: Any, transform: str, iterations: int, more: dict[str, object]) -> Any:
    """The parameters of one stage; names and meanings are elastix's."""
    stage = stages.GetDefaultParameterMap("rigid", 3)
    chosen = {
        "Transform": transform,
        "MaximumNumberOfIterations": iterations,
        "NumberOfSpatialSamples": 3072,
        "NumberOfHistogramBins": 32,
        "RandomSeed": 1,
        "WriteResultImage": "false",
        "WriteTransformParametersEachResolution": "false",
        "AutomaticTransformInitialization": "false",
        "ErodeMask": "false",
    }
    for name, value in (chosen | more).items():
        stage[name] = (str(value),)
    return stage


def _matrix(stage: Any) -> Array:
    """The (4, 4) map of an elastix Euler or affine transform, in LPS."""
    itk = load_itk()
    values = [float(value) for value in stage["TransformParameters"]]
    centre = np.array([float(value) for value in stage["CenterOfRotationPoint"]])
    if stage["Transform"][0] == "EulerTransform":
        euler = itk.Euler3DTransform[itk.D].New()
        euler.SetComputeZYX(stage["ComputeZYX"][0] == "true")
        euler.SetParameters(itk.OptimizerParameters[itk.D](values))
        linear = itk.array_from_matrix(euler.GetMatrix())
        shift = np.array(values[3:])
    else:
        linear, shift = np.reshape(values[:9], (3, 3)), np.array(values[9:])
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = shift + centre - linear @ centre
    return matrix
