"""Turn the template's head into a new anatomy: paint its tissues, deform its shape."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.synthesis.appearance import Contrast
from stroke_nets.synthesis.fields import smooth_field
from stroke_nets.synthesis.head import HEAD_MM, Float32, Head, head

REACH_MM = 12.0  # how far from the ventricular wall its displacement reaches


def bend_head(rng: np.random.Generator, strength: float, swelling: tuple[float, float]) -> Float32:
    """Where each voxel of a patient comes from in the template.

    Combines an affine map about the centre, smooth displacements of 4 mm on nodes 50 mm apart and
    of 0.7 mm on nodes 14 mm apart, and wider or narrower ventricles. The map does not fold outside
    the ventricles.

    Args:
        rng: random generator.
        strength: scales all parts; 0 for no deformation.
        swelling: outward displacement of the ventricular wall in mm, left and right.

    Returns:
        Voxel coordinates in the head's box, (3, X, Y, Z).
    """
    whole = head()
    shape = whole.label.shape
    middle = (np.array(shape) - 1) / 2
    linear = np.eye(3) + strength * rng.normal(0, 0.03, (3, 3))
    axes = [(np.arange(n) - half).astype(np.float32) for n, half in zip(shape, middle, strict=True)]
    x, y, z = np.ix_(*axes)
    moved = _displacement(whole, _moved_wall(rng, whole, strength, swelling))
    source = np.empty((3, *shape), np.float32)
    for axis, (a, b, c) in enumerate(linear.astype(np.float32)):
        source[axis] = a * x + b * y + (c * z + np.float32(middle[axis]))
        if strength:
            source[axis] += 4.0 * strength * smooth_field(rng, shape, 50, np.float32)
            source[axis] += 0.7 * strength * smooth_field(rng, shape, 14, np.float32)
            source[axis] -= moved * whole.away[axis]
    return source


def _displacement(whole: Head, moved: Float32) -> Float32:
    """Displacement of each voxel along ``whole.away`` when the ventricular wall has ``moved``.

    It is 0 at 3 mm inside the old wall, full at the new wall, and decays beyond.

    Args:
        whole: the head.
        moved: in mm, above -3; (X, 1, 1).
    """
    inside = np.clip((whole.wall + 3) / (moved + 3), 0, 1)
    return moved * inside * np.exp(-np.maximum(whole.wall - moved, 0) / REACH_MM)


def _moved_wall(
    rng: np.random.Generator, whole: Head, strength: float, swelling: tuple[float, float]
) -> Float32:
    """Outward displacement of the ventricular wall at each x, in mm: (X, 1, 1)."""
    general = rng.gamma(2.0, 1.2) - 0.8  # most patients are older than the template's
    right = 1 / (1 + np.exp(-(np.arange(whole.label.shape[0]) - whole.middle) / 4))
    moved = general + swelling[0] * (1 - right) + swelling[1] * right
    return (strength * np.clip(moved, -2, 4.5)).astype(np.float32)[:, None, None]


def paint_head(rng: np.random.Generator, contrast: Contrast, skull: bool) -> Float32:
    """Intensities of brain and head in the template's space.

    Args:
        rng: random generator, for texture, thicknesses and the defacing plane.
        contrast: intensities of the patient.
        skull: whether to draw anything other than the brain.

    Returns:
        Image of the head's box; 0 in air.
    """
    whole = head()
    image = np.zeros(whole.label.shape, np.float32)
    shares = whole.shares**contrast.sharpness
    shares[0] *= contrast.atrophy
    tissues = np.array(contrast.tissues, np.float32)
    image.flat[whole.brain_at] = tissues @ shares / shares.sum(axis=0)
    image.flat[whole.brain_at] += contrast.detail * whole.detail
    if skull:
        image.flat[whole.shell_at] = _shells(rng, contrast, whole)
    grain = smooth_field(rng, image.shape, 5, np.float32) + smooth_field(
        rng, image.shape, 40, np.float32
    )
    return image * (1 + 0.02 * grain)


def _shells(rng: np.random.Generator, contrast: Contrast, whole: Head) -> Float32:
    """Fluid, dura, skull with marrow, muscle and scalp, from the brain outwards."""
    fluid, dura, bone, skin = _thickness(rng, whole)
    tissues = [
        (whole.skin > skin, 0.0),
        (whole.skin > skin - 1.5, 0.5 * contrast.scalp),
        (whole.skin > fluid + dura + bone, contrast.scalp),
        (whole.depth < fluid, contrast.tissues[0]),
        (whole.depth < fluid + dura, contrast.dura),
        (whole.depth < fluid + dura + 0.3 * bone, contrast.bone),
        (whole.depth < fluid + dura + 0.75 * bone, contrast.marrow),
        (whole.depth < fluid + dura + bone, contrast.bone),
    ]
    clumps = smooth_field(rng, whole.label.shape, 9, np.float32).flat[whole.shell_at]
    soft = np.where(clumps < -0.5, contrast.bone, contrast.muscle)  # sinuses and bone in muscle
    soft = np.where(clumps > 1.0, contrast.scalp, soft)  # fat
    painted = np.select([where for where, _ in tissues], [what for _, what in tissues], soft)
    painted[_defaced(rng, whole)] = 0
    return painted.astype(np.float32)


def _thickness(rng: np.random.Generator, whole: Head) -> tuple[Float32, Float32, Float32, Float32]:
    """Thickness of fluid, dura and bone, and distance from brain to skin, in mm."""

    def varied(mean: float, least: float) -> Float32:
        mean = rng.normal(mean, 0.15 * mean)
        field = smooth_field(rng, whole.label.shape, 45, np.float32).flat[whole.shell_at]
        return np.maximum(mean * (1 + 0.25 * field), least).astype(np.float32)

    fluid, dura, bone, scalp = varied(1.5, 0), varied(1.0, 0.5), varied(6.0, 2), varied(5.5, 2.5)
    return fluid, dura, bone, np.minimum(fluid + dura + bone + scalp, HEAD_MM - 1)


def _defaced(rng: np.random.Generator, whole: Head) -> NDArray[np.bool_]:
    """The region that defacing removes: below a plane from under the brow down to the neck."""
    _, y, z = whole.place
    slope, height = rng.uniform(0.35, 0.5), rng.uniform(-30, -22)
    return (z < height - slope * (85 - y)) & (whole.depth > 4)


def sample_head(painted: Float32, source: Float32) -> tuple[Float32, NDArray[np.uint8]]:
    """A painted head in the patient's space.

    Args:
        painted: image of the head's box, in the template's space.
        source: where each voxel comes from, (3, X, Y, Z).

    Returns:
        Image (linear interpolation) and template labels (nearest neighbour).
    """
    label = sample_label(source)
    inside = np.flatnonzero(label)
    image = np.zeros(painted.shape, np.float32)
    coordinates = source.reshape(3, -1)[:, inside]
    image.flat[inside] = ndimage.map_coordinates(painted, coordinates, order=1)
    return image, label


def sample_label(source: Float32) -> NDArray[np.uint8]:
    """The template's label at each point of ``source``; 0 outside its box."""
    whole = head().label
    nearest = np.rint(source).astype(np.int32)
    at = np.zeros(whole.shape, np.int32)
    outside = np.zeros(whole.shape, bool)
    for index, size in zip(nearest, whole.shape, strict=True):
        outside |= (index < 0) | (index >= size)
        at = at * size + index
    label = whole.take(at, mode="clip")
    label[outside] = 0
    return label
