import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from stroke_nets.transforms.spline import along_axes, at_points

SIDES = (12, 9, 10)
# float32 samples, coordinates and coefficients (which reach 3 times the samples) against float64
ATOL = 2e-5


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(2, *SIDES)).astype(np.float32)


@pytest.mark.parametrize(("cubic", "order"), [(True, 3), (False, 1)])
def test_along_axes_is_scipys(volume, cubic, order):
    places = [np.linspace(-1.3, side + 0.4, 7) for side in SIDES]
    found = along_axes(torch.from_numpy(volume), places, cubic)
    points = np.stack(np.meshgrid(*places, indexing="ij"))
    mode = "constant" if cubic else "grid-constant"  # trilinear blends with the zeros outside
    for channel, mine in zip(volume, found, strict=True):
        expected = map_coordinates(channel.astype(float), points, order=order, mode=mode)
        np.testing.assert_allclose(mine, expected, atol=ATOL)


@pytest.mark.parametrize(("cubic", "order"), [(True, 3), (False, 1)])
def test_at_points_is_scipys(volume, cubic, order):
    rng = np.random.default_rng(1)
    points = np.stack([rng.uniform(-1.5, side + 0.5, (5, 6, 7)) for side in SIDES])
    found = at_points(torch.from_numpy(volume), torch.from_numpy(points).float(), cubic)
    mode = "constant" if cubic else "grid-constant"
    for channel, mine in zip(volume, found, strict=True):
        expected = map_coordinates(channel.astype(float), points, order=order, mode=mode)
        np.testing.assert_allclose(mine, expected, atol=ATOL)


def test_a_spline_meets_the_voxels(volume):
    places = [np.arange(side, dtype=float) for side in SIDES]
    found = along_axes(torch.from_numpy(volume), places, cubic=True)
    np.testing.assert_allclose(found, volume, atol=ATOL)
