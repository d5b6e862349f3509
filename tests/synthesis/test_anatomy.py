import numpy as np
import pytest
from scipy import ndimage

from stroke_nets.synthesis.anatomy import bend_head, sample_label
from stroke_nets.synthesis.fields import deformation, smooth_field
from stroke_nets.synthesis.head import VENTRICLE


def test_smooth_field_is_smooth_and_of_unit_size():
    field = smooth_field(np.random.default_rng(0), (60, 70, 80), spacing=10)
    assert field.shape == (60, 70, 80)
    assert 0.5 < field.std() < 1.1
    assert max(np.diff(field, axis=axis).std() for axis in range(3)) < 0.2


def volume_change(source):
    jacobian = np.stack([np.stack(np.gradient(part, 2.0)) for part in source[:, ::2, ::2, ::2]])
    return np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))


def test_plain_deformation_does_not_fold():
    source = deformation(np.random.default_rng(0), (120, 130, 110))
    assert volume_change(source).min() > 0.1


@pytest.mark.parametrize("swelling", [(-2.0, 4.0), (6.0, 6.0)])
def test_brain_does_not_fold(swelling):
    source = bend_head(np.random.default_rng(1), 1.0, swelling)
    tissue = ndimage.binary_erosion(sample_label(source) > VENTRICLE, iterations=3)
    assert volume_change(source)[tissue[::2, ::2, ::2]].min() > 0


def test_no_bending_leaves_every_voxel_in_place():
    source = bend_head(np.random.default_rng(0), 0.0, (0.0, 0.0))
    np.testing.assert_allclose(source, np.indices(source.shape[1:]), atol=1e-4)  # float32 of 200


def test_ventricle_grows_on_the_side_of_the_lesion():
    def volumes(swelling):
        label = sample_label(bend_head(np.random.default_rng(0), 1.0, swelling))
        middle = label.shape[0] // 2
        found = label == VENTRICLE
        return found[:middle].sum(), found[middle:].sum()

    before, after = volumes((0.0, 0.0)), volumes((3.0, 0.0))
    assert after[0] > 1.3 * before[0]
    assert after[1] < 1.1 * before[1]
