import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from stroke_nets.transforms.spline import at, classes_at

SIDES = (12, 9, 10)
# float32 samples, coordinates and coefficients (which reach 3 times the samples) against float64
ATOL = 2e-5


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(2, *SIDES)).astype(np.float32)


@pytest.mark.parametrize(("cubic", "order"), [(True, 3), (False, 1)])
def test_along_axes_is_scipys(volume, cubic, order):
    places = [np.linspace(-1.3, side + 0.4, 7) for side in SIDES]
    found = at(torch.from_numpy(volume), places, cubic)
    points = np.stack(np.meshgrid(*places, indexing="ij"))
    mode = "constant" if cubic else "grid-constant"  # trilinear blends with the zeros outside
    for channel, mine in zip(volume, found, strict=True):
        expected = map_coordinates(channel.astype(float), points, order=order, mode=mode)
        np.testing.assert_allclose(mine, expected, atol=ATOL)


@pytest.mark.parametrize(("cubic", "order"), [(True, 3), (False, 1)])
def test_at_points_is_scipys(volume, cubic, order):
    rng = np.random.default_rng(1)
    points = np.stack([rng.uniform(-1.5, side + 0.5, (5, 6, 7)) for side in SIDES])
    found = at(torch.from_numpy(volume), torch.from_numpy(points).float(), cubic)
    mode = "constant" if cubic else "grid-constant"
    for channel, mine in zip(volume, found, strict=True):
        expected = map_coordinates(channel.astype(float), points, order=order, mode=mode)
        np.testing.assert_allclose(mine, expected, atol=ATOL)


def test_a_spline_meets_the_voxels(volume):
    places = [np.arange(side, dtype=float) for side in SIDES]
    found = at(torch.from_numpy(volume), places, cubic=True)
    np.testing.assert_allclose(found, volume, atol=ATOL)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_classes_are_those_of_the_largest_share(classes):
    rng = np.random.default_rng(2)
    label = torch.zeros(1, *SIDES)
    label[0, 2:6, 3:6, 4:9] = torch.from_numpy(
        rng.integers(0, classes, (4, 3, 5)).astype(np.float32)
    )
    points = torch.from_numpy(rng.uniform(-1.5, 12.5, (3, 4000))).float()
    shares = at(torch.cat([(label == c).float() for c in range(classes)]), points, cubic=False)
    expected = shares.argmax(0, keepdim=True).float()
    assert (len(expected.unique()) == classes) == bool(label.any() or classes == 1)
    torch.testing.assert_close(classes_at(label, points), expected)


@pytest.mark.parametrize("width", [8, 9, 10, 11])
def test_the_last_voxel_is_met_whatever_the_width(width):
    volume = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 6, 7, width))).float()
    corner = torch.tensor([[5.0], [6.0], [width - 1.0]])
    found = at(volume, torch.cat([corner, corner + 20], 1), cubic=True)
    np.testing.assert_allclose(found, [[volume[0, -1, -1, -1].item(), 0]], atol=ATOL)


def test_points_far_outside_are_zero(volume):
    points = torch.tensor([[-99.0, 5, 99], [5, -99, 99], [5, 5, 99]])
    assert not at(torch.from_numpy(volume), points, cubic=True).any()
    assert not at(torch.from_numpy(volume), points + 99, cubic=True).any()


def test_no_point_at_all():
    assert at(torch.ones(1, *SIDES), torch.zeros(3, 0), cubic=False).shape == (1, 0)
