"""Registration of shrunk volumes: a head of 4 mm voxels, in known places."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stroke_nets import synthesis as simulate
from stroke_nets.errors import DataError
from stroke_nets.registration import pipeline
from stroke_nets.registration.affine import register
from stroke_nets.registration.bias import correct_bias
from stroke_nets.registration.deformable import deform
from stroke_nets.registration.pipeline import normalize
from stroke_nets.registration.quality import measure
from stroke_nets.registration.start import find_poses
from stroke_nets.registration.transform import Transform
from stroke_nets.registration.volume import Volume, brain, dilated, places

ITERATIONS = 25  # of 256: enough for a head of 4 mm voxels that starts a few mm away
SHAPE = (56, 60, 56)  # 224 x 240 x 224 mm


@pytest.fixture(scope="module")
def template():
    return brain().thinned(4)


@pytest.fixture(scope="module")
def head():
    """A patient with a skull and a chronic lesion of 150 ml, on the template's anatomy."""
    t1, _ = simulate.simulate_patient(2, 7, simulate.Design(bend=0))
    return Volume(t1.astype(np.float32) / np.percentile(t1, 99.5), simulate.template().affine)


def moved(head, matrix):
    """The head after ``matrix``, on a grid of 4 mm about its middle."""
    grid = nib.affines.from_matvec(np.eye(3) * 4, matrix[:3, 3] - 2 * np.array(SHAPE))
    points = Transform(np.linalg.inv(matrix)).to_scan(places(np.ones(SHAPE, bool), grid))
    return Volume(head.thinned(3).sample(points).reshape(SHAPE), grid)


def known_map(degrees, shift):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return nib.affines.from_matvec(turn * [1.1, 0.9, 1.05], shift)


def error(matrix, known, template):
    inside = places(dilated(template, 0), template.affine)
    apart = Transform(matrix).to_scan(inside) - Transform(known).to_scan(inside)
    return np.linalg.norm(apart, axis=0)


def test_pose_is_found_from_afar(template, head):
    known = known_map((14, -9, 8), (30, -20, 15))
    starts = find_poses(brain(), moved(head, known))
    start = min(starts, key=lambda pose: error(pose.matrix, known, template).mean())
    # Turns are tried 15 to 20 degrees apart, sizes 0.13: at the brain's rim, 80 mm out, up to
    # 80 * (sin 10 + 0.07) = 19 mm off.
    assert error(start.matrix, known, template).mean() < 19
    assert start.correlation > 0.5


def test_registration_finds_a_known_place(template, head):
    known = known_map((9, -7, 8), (30, -20, 15))
    scan = moved(head, known)
    begin = nib.affines.from_matvec(np.eye(3), known[:3, 3] + 6)
    matrix = register(template, scan, begin, iterations=6 * ITERATIONS)
    assert error(matrix, known, template).mean() < 2  # half a voxel
    assert measure(brain(), scan, Transform(matrix), [matrix]).problems() == []


def test_a_shifted_registration_is_a_problem(head):
    scan = moved(head, np.eye(4))
    shifted = nib.affines.from_matvec(np.eye(3), (0, 0, 25))
    found = measure(brain(), scan, Transform(shifted), [np.eye(4)]).problems()
    assert any("two registrations 25.0 mm apart" in problem for problem in found)
    squeezed = nib.affines.from_matvec(np.eye(3) * 2, (0, 0, 0))
    found = measure(brain(), scan, Transform(squeezed), [squeezed]).problems()
    assert any("correlation" in problem for problem in found)
    assert any("scaled by 0.50" in problem for problem in found)


def test_head_upside_down_is_refused(head, tmp_path, monkeypatch):
    def quick(*arguments):
        return register(*arguments, iterations=ITERATIONS)

    monkeypatch.setattr(pipeline, "register", quick)
    turn = np.diag([1.0, -1, -1, 1])
    scan = moved(head, turn)
    nib.save(nib.Nifti1Image(scan.voxels, scan.affine), tmp_path / "sub-1_T1w.nii.gz")
    with pytest.raises(DataError, match=r"sub-1_T1w.nii.gz: the registration is poor .*rejected"):
        normalize(tmp_path / "sub-1_T1w.nii.gz", tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert names == ["sub-1_to-MNI152NLin2009aSym_rejected.png"]


def test_bias_is_taken_out_at_full_size():
    template = brain().thinned(2)  # N4 sees every 2nd voxel
    inside = template.voxels > 0.8  # white matter
    x = np.linspace(-1, 1, template.voxels.shape[0])[:, None, None]
    biased = Volume((template.voxels * np.exp(0.5 * x)).astype(np.float32), template.affine)
    flat = correct_bias(biased)
    assert flat.voxels.shape == biased.voxels.shape

    def spread(volume):
        return volume.voxels[inside].std() / volume.voxels[inside].mean()

    assert spread(flat) < 0.5 * spread(biased)


def test_splines_bend_a_brain_towards_the_template(template):
    points = places(np.ones(template.voxels.shape, bool), template.affine)
    bent = points + 6 * np.sin(points[[1, 2, 0]] / 25)  # 6 mm over 80 mm
    scan = Volume(template.sample(bent).reshape(template.voxels.shape), template.affine)
    field = deform(template, scan, np.eye(4), iterations=ITERATIONS)
    inside = places(dilated(template, 0), template.affine)
    wanted = template.sample(inside)
    seen = [
        scan.sample(t.to_scan(inside)) for t in (Transform(np.eye(4)), Transform(np.eye(4), field))
    ]
    before, after = (np.corrcoef(wanted, found)[0, 1] for found in seen)
    assert 1 - after < 0.5 * (1 - before)
