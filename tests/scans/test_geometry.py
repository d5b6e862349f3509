"""Rows G1 to G18: where voxels lie, and whether a mask lies on its scan's grid."""

import logging

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, Orientationd, SaveImage

from stroke_nets.errors import DataError
from stroke_nets.scans.check import check, require_fit
from stroke_nets.scans.finding import Refusal
from stroke_nets.scans.reader import open_scan, read_scan
from stroke_nets.scans.writer import HeaderWriter
from stroke_nets.transforms.load_scan import LoadScand
from stroke_nets.transforms.slice_plane import SlicePlaned

from .scans import SHAPE, affine, edit, mask, save, voxels


def refused(path, row, *words):
    with pytest.raises(Refusal) as caught:
        open_scan(path)
    assert caught.value.finding.row == row
    for word in (path.name, *words):
        assert word in str(caught.value)


def noticed(path, row, *words):
    """The file is read, with one notice of the row; a check of it passes."""
    scan = read_scan(path)
    (notice,) = scan.notices
    assert (notice.row, notice.notice) == (row, True)
    for word in words:
        assert word in str(notice)
    assert [f.row for f in check(path) if not f.notice] == []
    return scan.image


def pair(folder, label=None, matrix=None):
    """A scan and a mask on possibly another grid, as a case."""
    scan = save(folder / "a_T1w.nii.gz")
    label = save(folder / "a_mask.nii.gz", mask() if label is None else label, matrix)
    return {"image": str(scan), "label": str(label)}


def pair_refused(case, row, *words):
    """Training, inference and the check refuse the mask alike."""
    with pytest.raises(Refusal) as caught:
        LoadScand(["image", "label"])(case)
    with pytest.raises(DataError, match=r"a_mask\.nii\.gz: .*resample"):
        require_fit([case])
    assert caught.value.finding.row == row
    for word in ("a_mask.nii.gz", *words):
        assert word in str(caught.value)


def test_G1_one_volume_is_squeezed(tmp_path, caplog):
    path = save(tmp_path / "a.nii", voxels((*SHAPE, 1)))
    assert noticed(path, "G1").shape == SHAPE
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(open_scan(path).dataobj, voxels())
    assert "a.nii: 4D" in caplog.text


def test_G2_several_volumes_are_a_choice(tmp_path):
    path = save(tmp_path / "a.nii", voxels((*SHAPE, 2)))
    refused(path, "G2", "2 volumes", "reading: {volume: 0}")
    second = LoadScand("image", reading={"volume": 1})({"image": str(path)})["image"]
    np.testing.assert_array_equal(second[0], voxels((*SHAPE, 2))[..., 1])
    with pytest.raises(Refusal, match="no volume 2"):
        open_scan(path, volume=2)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 8, 2, 2)])
def test_G3_two_and_five_dimensions(tmp_path, shape):
    refused(save(tmp_path / "a.nii", voxels(shape)), "G3", f"{len(shape)}D", str(shape))


def test_G4_other_shape(tmp_path):
    pair_refused(pair(tmp_path, mask((6, 7, 9))), "G4", "(6, 7, 8)", "(6, 7, 9)")


def test_G5_shifted_by_40_mm(tmp_path):
    matrix = affine()
    matrix[0, 3] += 40
    pair_refused(pair(tmp_path, matrix=matrix), "G5", "40 mm")


def test_G5_a_hundredth_of_a_mm_is_the_headers_rounding(tmp_path):
    matrix = affine()
    matrix[0, 3] += 0.005
    require_fit([pair(tmp_path, matrix=matrix)])
    matrix[0, 3] += 0.015
    pair_refused(pair(tmp_path, matrix=matrix), "G5", "0.02 mm")


def test_G6_mirrored_label(tmp_path):
    pair_refused(pair(tmp_path, matrix=affine(-1, 1, 1)), "G6", "LAS", "RAS")


def test_G7_label_in_another_orientation_is_turned(tmp_path):
    scan = nib.Nifti1Image(mask(), affine())
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine()), nib.orientations.axcodes2ornt("PSR")
    )
    turned = scan.as_reoriented(turn)
    assert nib.aff2axcodes(turned.affine) == ("P", "S", "R")
    case = pair(tmp_path, np.asarray(turned.dataobj), turned.affine)
    loaded = LoadScand(["image", "label"])(case)
    np.testing.assert_array_equal(loaded["label"][0], mask())
    np.testing.assert_array_equal(loaded["label"].affine, affine())
    require_fit([case])


def test_G8_other_spacing(tmp_path):
    case = pair(tmp_path, matrix=affine(spacing=(1, 1, 2)))
    pair_refused(case, "G8", "2.", "1.")


def test_G9_no_orientation(tmp_path):
    path = save(tmp_path / "a.nii", qform_code=0, sform_code=0, pixdim=[1, 2, 3, 4, 0, 0, 0, 0])
    refused(path, "G9", "give the orientation")
    told = open_scan(path, orientation="PSR")
    assert nib.aff2axcodes(told.affine) == ("P", "S", "R")
    np.testing.assert_allclose(nib.affines.voxel_sizes(told.affine), (2, 3, 4))
    middle = told.affine @ [*(np.array(SHAPE) - 1) / 2, 1]
    np.testing.assert_allclose(middle, (0, 0, 0, 1), atol=1e-12)  # the world's origin


@pytest.mark.parametrize(("qform", "sform"), [(0, 2), (1, 0)])
def test_G9_one_form_is_enough(tmp_path, qform, sform):
    path = save(tmp_path / "a.nii", qform_code=qform, sform_code=sform, qoffset_x=-10)
    scan = read_scan(path)
    assert scan.notices == []
    image = scan.image
    np.testing.assert_allclose(image.affine[:3, :3], np.eye(3))


def test_G10_forms_disagree(tmp_path):
    image = nib.Nifti1Image(voxels(), affine())
    image.set_qform(affine(), 1)
    for shift, fits in ((0.05, True), (0.15, False), (3, False)):
        moved = affine()
        moved[0, 3] += shift
        image.set_sform(moved, 4)
        nib.save(image, tmp_path / "a.nii")
        if fits:
            np.testing.assert_allclose(open_scan(tmp_path / "a.nii").affine, moved, atol=1e-6)
        else:
            refused(tmp_path / "a.nii", "G10", f"{shift} mm apart")


def test_G11_singular_affine(tmp_path):
    refused(save(tmp_path / "a.nii", srow_x=[0, 0, 0, 5]), "G11", "singular")


@pytest.mark.parametrize("field", ["srow_x", "quatern_b"])
def test_G12_nan_in_affine(tmp_path, field):
    path = save(tmp_path / "a.nii")
    if field == "srow_x":
        edit(path, srow_x=[np.nan, 0, 0, 5])
    else:
        edit(path, qform_code=1, sform_code=0, quatern_b=np.nan)
    refused(path, "G12")


def test_G13_shear(tmp_path):
    refused(save(tmp_path / "a.nii", srow_x=[1, 0.2, 0, 5]), "G13", "shear", "resample")


def test_G13_a_shear_of_half_a_thousandth_is_rounding(tmp_path):
    assert read_scan(save(tmp_path / "a.nii", srow_x=[1, 5e-4, 0, 5])).notices == []
    refused(save(tmp_path / "b.nii", srow_x=[1, 2e-3, 0, 5]), "G13", "0.002")


@pytest.mark.parametrize("size", [-2.0, 0.0])
def test_G14_impossible_voxel_size(tmp_path, size):
    path = save(tmp_path / "a.nii", matrix=affine(spacing=(2, 1, 1)))
    edit(path, pixdim=[1, size, 1, 1, 0, 0, 0, 0])
    image = noticed(path, "G14", f"pixdim[1] is {size:g}", "2 is used")
    np.testing.assert_array_equal(image.affine, affine(spacing=(2, 1, 1)))


@pytest.mark.parametrize(("code", "name", "mm"), [(1, "metre", 1000), (3, "micrometre", 0.001)])
def test_G15_units(tmp_path, code, name, mm):
    stored = affine()
    stored[:3] /= mm
    image = noticed(save(tmp_path / "a.nii", matrix=stored, xyzt_units=code), "G15", name)
    np.testing.assert_allclose(image.affine, affine(), rtol=1e-6)  # float32 header


def test_G15_unknown_unit_is_mm(tmp_path):
    scan = read_scan(save(tmp_path / "a.nii", xyzt_units=0))
    assert scan.notices == []
    np.testing.assert_array_equal(scan.grid.affine, affine())


@pytest.mark.parametrize("slope", [0, np.inf, -np.inf, np.nan])
def test_G16_a_slope_that_is_none_means_no_scaling(tmp_path, slope):
    path = save(tmp_path / "a.nii", scl_slope=slope, scl_inter=5)
    image = noticed(path, "G16", f"scl_slope is {slope:g}", "scl_inter 5")
    np.testing.assert_array_equal(image.dataobj, voxels())


@pytest.mark.parametrize(("slope", "inter"), [(np.nan, np.nan), (0, 0), (np.nan, 0), (1, 0)])
def test_G16_what_every_program_writes_needs_no_word(tmp_path, slope, inter):
    path = save(tmp_path / "a.nii", scl_slope=slope, scl_inter=inter)
    assert read_scan(path).notices == []


@pytest.mark.parametrize(
    ("stored", "unit", "told"),
    [
        (1.0, 1, "voxels of 1000 x 1000 x 1000 mm: its unit of length, metre,"),
        (1.0, 3, "voxels of 0.001 x 0.001 x 0.001 mm: its unit of length, micrometre,"),
        (1e-3, 0, "voxels of 0.001 x 0.001 x 0.001 mm: its unit of length, unknown and taken"),
        (1e-3, 2, "voxels of 0.001 x 0.001 x 0.001 mm: its unit of length, mm,"),
        (1e3, 2, "voxels of 1000 x 1000 x 1000 mm: its unit of length, mm,"),
    ],
)
def test_G19_a_unit_of_length_that_cannot_be_right(tmp_path, stored, unit, told):
    path = save(tmp_path / "a.nii", matrix=np.diag([stored] * 3 + [1]), xyzt_units=unit)
    refused(path, "G19", told)


def test_G17_volume_smaller_than_the_box_is_padded(tmp_path):
    case = pair(tmp_path)
    box = SlicePlaned(["image", "label"], size=48)
    found = box(LoadScand(["image", "label"])(case))
    assert found["image"].shape == found["label"].shape == (1, 48, 48, SHAPE[2])


@pytest.mark.parametrize("units", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("codes", [(0, 2), (1, 4), (3, 0)])
def test_G18_saved_mask_is_the_scans_twin(tmp_path, codes, units):
    scale = {1: 1e-3, 3: 1e3}.get(units, 1.0)
    stored = np.diag([scale, scale, scale, 1]) @ np.array(
        [[0, -2.0, 0, 5], [0.9, 0, 0, 7], [0, 0, 3, -4], [0, 0, 0, 1]]
    )
    image = nib.Nifti1Image(voxels(), stored)
    image.set_qform(stored, codes[0])
    image.set_sform(stored, codes[1])
    image.header["xyzt_units"] = units
    nib.save(image, tmp_path / "scan.nii.gz")
    ras = Compose([LoadScand("image"), Orientationd("image", axcodes="RAS", labels=None)])
    volume = ras({"image": str(tmp_path / "scan.nii.gz")})
    volume = ras.inverse(volume)["image"]
    save_mask = SaveImage(
        tmp_path, "pred", writer=HeaderWriter, separate_folder=False, resample=False
    )
    save_mask(volume > 0)
    found = nib.load(tmp_path / "scan_pred.nii.gz").header
    assert (found["qform_code"], found["sform_code"]) == codes
    assert found["xyzt_units"] == units
    # a qform is stored as float32 quaternions
    np.testing.assert_allclose(found.get_best_affine(), stored, rtol=1e-5, atol=1e-6 * scale)
