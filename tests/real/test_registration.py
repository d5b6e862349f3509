"""Registration of real heads; the folder that STROKE_NETS_REAL_DATA names holds them."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from stroke_nets.registration.pipeline import carry_back
from stroke_nets.registration.register import register
from stroke_nets.registration.transform import Transform
from stroke_nets.registration.volume import Volume, brain, dilated, places, read

DATA = Path(os.environ.get("STROKE_NETS_REAL_DATA", "/nowhere"))
ARC = DATA / "arc" / "sub-M2051" / "anat"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="STROKE_NETS_REAL_DATA names no folder"),
]


def apart(one, other):
    """Mean distance of two maps over the template's brain, in mm."""
    inside = places(dilated(brain(6), 0), brain(6).affine)
    gap = Transform(one).to_scan(inside) - Transform(other).to_scan(inside)
    return np.linalg.norm(gap, axis=0).mean()


@pytest.fixture(scope="module")
def patient():
    """The scan of a patient with a lesion of 131 ml, and where it lies."""
    scan = read(ARC / "sub-M2051_T1w.nii.gz")
    return scan, register(scan)


def test_a_large_lesion_is_inside_the_carried_brain(patient):
    scan, found = patient
    assert found.problems() == []
    assert found.warnings() == []
    lesion = read(ARC / "sub-M2051_label-lesion_mask.nii.gz").voxels > 0
    near = ndimage.distance_transform_edt(~dilated(brain(), 0)) <= 2
    near = Volume(near.astype(np.float32), brain().affine)
    carried = carry_back(near, Transform(found.matrix), scan.voxels.shape, scan.affine)
    assert (carried[lesion] < 0.5).mean() < 0.08  # the goal


@pytest.mark.parametrize("head", ["colin27_head_1mm", "t1w_head_2mm", "t1w_brain_0.8mm"])
def test_L11_ordinary_heads_pass_and_a_stripped_one_is_told(head):
    found = register(read(DATA / "heads" / f"{head}.nii.gz"))
    assert found.problems() == []
    stripped = head == "t1w_brain_0.8mm"
    assert ["skull-stripped" in said for said in found.warnings()] == [True] * stripped


def test_neither_unit_nor_header_moves_the_map(patient):
    scan, found = patient
    far = nib.affines.from_matvec(np.eye(3), (300, -250, 400))
    z_scored = (scan.voxels - scan.voxels.mean()) / scan.voxels.std()
    other = register(Volume(z_scored, far @ scan.affine))
    # niimath sees whole numbers that differ by one in a few voxels.
    assert apart(other.matrix, far @ found.matrix) < 0.1


def moves(affine):
    """Headers of the same scan: turned, far away, with the origin at a corner."""
    yaw = nib.affines.from_matvec(nib.eulerangles.euler2mat(z=np.pi / 6))
    corner = nib.affines.from_matvec(np.eye(3), -affine[:3, 3])
    return {
        "yaw 30": yaw,
        "60 mm off": nib.affines.from_matvec(np.eye(3), (60, 0, 0)),
        "corner": corner,
        "300 mm off": nib.affines.from_matvec(np.eye(3), (300, -250, 400)),
        "upside down": np.diag([1.0, -1, -1, 1]),
    }


@pytest.mark.parametrize("name", ["yaw 30", "60 mm off", "corner", "300 mm off", "upside down"])
def test_a_head_in_another_place_is_found(name, patient):
    scan, found = patient
    move = moves(scan.affine)[name]
    other = register(Volume(scan.voxels, move @ scan.affine))
    assert other.problems() == []  # each could be refused instead; none need be
    assert apart(other.matrix, move @ found.matrix) < 1  # niimath starts elsewhere
