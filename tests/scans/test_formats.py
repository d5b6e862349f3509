"""Files of other formats, written by their own libraries, are read as NIfTI is, or named."""

import gzip
import re
import shutil
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from stroke_nets.datasets.from_folder import from_folder
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.evaluate import evaluate_folder
from stroke_nets.inference.inputs import find_scans
from stroke_nets.scans.check import check
from stroke_nets.scans.finding import Refusal
from stroke_nets.scans.formats import bare, is_scan, write_like
from stroke_nets.scans.reader import read_scan
from tests.scans.dicom_files import ROTATION
from tests.scans.scans import mask, save, voxels

MRTRIX = Path(__file__).parent / "mrtrix"
AFFINE = nib.affines.from_matvec(ROTATION * (1.0, 2.0, 3.0), (-10, 20, 5))  # RAS
LPS = np.diag([-1, -1, 1, 1]) @ AFFINE


def nrrd_header(**fields):
    place = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": LPS[:3, :3].T,
        "space origin": LPS[:3, 3],
    }
    return place | fields


def write_nrrd(path, array):
    nrrd.write(str(path), array, nrrd_header())


def write_metaimage(path, array):
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetDirection((LPS[:3, :3] / (1, 2, 3)).ravel().tolist())
    image.SetOrigin(LPS[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


def write_mgh(path, array):
    nib.save(nib.freesurfer.MGHImage(array, AFFINE), path)


def write_voi(path, array):
    """MRIcron's .voi is NIfTI that is compressed with gzip."""
    path.write_bytes(gzip.compress(nib.Nifti1Image(array, AFFINE).to_bytes()))


def write_upper(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path.with_name("lower.nii.gz"))
    path.with_name("lower.nii.gz").rename(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.nrrd", write_nrrd),
        ("x.mha", write_metaimage),
        ("x.mhd", write_metaimage),
        ("x.mgz", write_mgh),
        ("x.mgh", write_mgh),
        ("x.voi", write_voi),
        ("x.NII.GZ", write_upper),
    ],
)
def test_voxels_and_places_are_the_files_own(tmp_path, name, write):
    write(tmp_path / name, voxels())
    scan = read_scan(tmp_path / name)
    np.testing.assert_array_equal(scan.voxels, voxels())
    np.testing.assert_allclose(scan.grid.affine, AFFINE, atol=1e-4)
    assert is_scan(name)
    assert bare(name) == "x"
    assert scan.notices == []


@pytest.mark.parametrize(
    ("space", "signs"), [("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1))]
)
def test_other_spaces_of_nrrd_are_understood(tmp_path, space, signs):
    turned = np.diag(signs) @ AFFINE[:3]
    header = {"space directions": turned[:, :3].T, "space origin": turned[:, 3]}
    nrrd.write(str(tmp_path / "x.nrrd"), voxels(), nrrd_header(**{"space": space} | header))
    np.testing.assert_allclose(read_scan(tmp_path / "x.nrrd").grid.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "write"),
    [("x.nrrd", write_nrrd), ("x.mha", write_metaimage), ("x.mgz", write_mgh)],
)
def test_F2_F5_a_file_that_is_cut_is_refused(tmp_path, name, write):
    write(tmp_path / name, voxels((20, 20, 20)))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(DataError, match=r"damaged|cut short"):
        read_scan(tmp_path / name)


def test_G9_G15_nrrd_without_a_place_or_in_metres_is_refused(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), voxels())
    nrrd.write(str(tmp_path / "b.nrrd"), voxels(), nrrd_header(**{"space units": ["m"] * 3}))
    for name, what in (("a", "does not say where its voxels lie"), ("b", "in m; export it in mm")):
        with pytest.raises(DataError, match=what):
            read_scan(tmp_path / f"{name}.nrrd")


def test_G13_shear_is_refused_in_metaimage(tmp_path):
    write_metaimage(tmp_path / "x.mha", voxels())
    content = (tmp_path / "x.mha").read_bytes()
    head = b"TransformMatrix = 1 0 0 0.1 1 0 0 0 1\n"
    start = content.index(b"TransformMatrix")
    end = content.index(b"\n", start) + 1
    (tmp_path / "x.mha").write_bytes(content[:start] + head + content[end:])
    with pytest.raises(DataError, match=r"shear|apart"):
        read_scan(tmp_path / "x.mha")


def segments(*names, layers=None):
    """Header fields as 3D Slicer writes them."""
    fields = {}
    for number, name in enumerate(names):
        fields[f"Segment{number}_Name"] = name
        fields[f"Segment{number}_LabelValue"] = "1" if layers else str(number + 1)
        fields[f"Segment{number}_Layer"] = str(layers[number] if layers else 0)
    return fields


def test_segments_are_read_by_name_even_where_they_overlap(tmp_path):
    layers = np.zeros((2, 6, 7, 8), np.uint8)
    layers[0], layers[1, 1:3] = mask(), 1
    assert (layers[0] & layers[1]).any()
    header = nrrd_header(**segments("Lesion core", "ventricle", layers=(0, 1)))
    header["kinds"] = ["list", "domain", "domain", "domain"]
    header["space directions"] = np.vstack([np.full(3, np.nan), LPS[:3, :3].T])
    path = tmp_path / "x.seg.nrrd"
    nrrd.write(str(path), layers, header)
    np.testing.assert_array_equal(read_scan(path).voxels, layers[0])  # the only lesion by name
    np.testing.assert_array_equal(read_scan(path, segment="ventricle").voxels, layers[1])
    np.testing.assert_allclose(read_scan(path).grid.affine, AFFINE, atol=1e-4)


def test_F24_segments_of_which_none_is_chosen_are_named(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    labels = mask() + np.roll(mask(), 2, axis=2) * 2
    nrrd.write(str(path), labels.astype(np.uint8), nrrd_header(**segments("left", "right")))
    with pytest.raises(DataError, match=r"it has 2 segments \(left, right\); name one with"):
        read_scan(path)
    with pytest.raises(DataError, match=r"it has 2 segments \(left, right\)"):
        read_scan(path, segment="middle")
    np.testing.assert_array_equal(read_scan(path, segment="left").voxels, labels == 1)


@pytest.mark.parametrize("turn", [np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])])
def test_a_cropped_segmentation_is_put_into_the_grid_it_was_drawn_on(tmp_path, turn):
    whole, affine = mask(), AFFINE @ turn
    first = np.array([1, 2, 2])
    part = whole[1:5, 2:6, 2:7]
    lps = np.diag([-1, -1, 1, 1]) @ affine
    grid = ";".join(map(str, [*affine.ravel(), 0, 5, 0, 6, 0, 7]))
    header = nrrd_header(
        **segments("Segment_1"),
        Segmentation_ReferenceImageExtentOffset="1 2 2",
        Segmentation_ConversionParameters=f"A|1|x&Reference image geometry|{grid};|y&B|0|z",
    )
    header |= {
        "space directions": lps[:3, :3].T,
        "space origin": nib.affines.apply_affine(lps, first),
    }
    nrrd.write(str(tmp_path / "x.seg.nrrd"), part, header)
    scan = read_scan(tmp_path / "x.seg.nrrd")
    np.testing.assert_array_equal(scan.voxels, whole)
    np.testing.assert_allclose(scan.grid.affine, affine, atol=1e-4)


@pytest.mark.parametrize("name", ["x.seg.nrrd", "x.mha", "x.mgz", "x.mif", "x.mif.gz", "x.voi"])
def test_a_mask_written_like_its_scan_is_read_again(tmp_path, name):
    write_like(tmp_path / name, mask() > 0, AFFINE)
    scan = read_scan(tmp_path / name)
    np.testing.assert_array_equal(scan.voxels, mask())
    np.testing.assert_allclose(scan.grid.affine, AFFINE, atol=1e-4)


# As mrconvert of MRtrix 3.0.3 (Debian) wrote them, of volumes of 2 x 3 x 4 voxels with the
# numbers 0 to 23 (int16), and with 1 where these are above 12 (uint8):
#   mrconvert in.nii -strides 3,-1,2 -datatype float32be strides.mif
#   mrconvert mask.nii -strides 1,-3,2 -datatype bit lesion.mif
#   mrconvert mask.nii -strides -2,3,1 -datatype bit lesion.mif.gz
@pytest.mark.parametrize("name", ["strides.mif", "lesion.mif", "lesion.mif.gz"])
def test_voxels_of_mrtrix_are_at_their_places(name):
    scan, numbers = read_scan(MRTRIX / name), np.arange(24).reshape(2, 3, 4)
    turn = nib.eulerangles.euler2mat(z=np.deg2rad(20))
    affine = nib.affines.from_matvec(turn * (1.0, 2.0, 3.0), (-5, -7, 11))
    np.testing.assert_array_equal(scan.voxels, numbers if "strides" in name else numbers > 12)
    np.testing.assert_allclose(scan.grid.affine, affine, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"Float32BE", b"CFloat64L", "F18.*of type CFloat64L"),
        (b"+2,-0,+1", b"+2,-2,+1", "F5.*layout"),
        (b"dim: 2,3,4", b"dim: 2,3,9", "F2.*it has 96 of 216 bytes"),
        (b"dim: 2,3,4", b"dim: 9999999999999,3,4", "F2.*it announces"),
        (b"dim: 2,3,4", b"dim: 2,0,4", "F5.*dim: 2,0,4"),
        (b"transform", b"ttransform", "G9.*does not say where its voxels lie"),
        (b"END", b"end", "F2.*header has no end"),
        (b"mrtrix image", b"mrtrix tracks", "F5.*first line"),
    ],
)
def test_F2_F5_F18_G9_a_damaged_file_of_mrtrix_is_refused(tmp_path, old, new, what):
    (tmp_path / "x.mif").write_bytes((MRTRIX / "strides.mif").read_bytes().replace(old, new, 4))
    with pytest.raises(Refusal) as caught:
        read_scan(tmp_path / "x.mif")
    finding = caught.value.finding
    assert re.fullmatch(f"{what}.*", f"{finding.row} {finding.what}")


def test_F2_a_compressed_file_of_mrtrix_that_is_cut_is_refused(tmp_path):
    (tmp_path / "x.mif.gz").write_bytes((MRTRIX / "lesion.mif.gz").read_bytes()[:-12])
    with pytest.raises(Refusal, match="cut short"):
        read_scan(tmp_path / "x.mif.gz")


@pytest.fixture
def folder(tmp_path):
    """A scan and its mask, and a file of a format that is not read."""
    data = tmp_path / "data" / "sub-1"
    save(data / "sub-1_T1w.nii.gz", matrix=AFFINE)
    write_like(data / "sub-1_mask.seg.nrrd", mask() > 0, AFFINE)
    (data / "sub-2_T1w.mnc").write_bytes(b"CDF")
    for aside in ("sourcedata", ".hidden"):
        (data.parent / aside).mkdir()
        (data.parent / aside / "x.mnc").write_bytes(b"CDF")
    return tmp_path / "data"


def test_F13_a_file_that_is_not_read_is_named_with_the_way(folder, tmp_path, caplog):
    what = "sub-2_T1w.mnc: the format .mnc is not read; convert it: mnc2nii sub-2_T1w.mnc"
    assert [what in str(one) for one in check(folder)] == [True]
    options = {"label": "_mask.seg.nrrd", "out": folder / "manifest.json", "folds": None}
    assert from_folder(folder, image="**/*_T1w.nii.gz", **options) == 1
    assert what in caplog.text
    with pytest.raises(DataError, match=r"the format \.mnc is not read"):
        from_folder(folder, image="**/*.mnc", **options)
    caplog.clear()
    (scan,) = find_scans(folder, tmp_path / "out")
    assert scan.path.name == "sub-1_T1w.nii.gz"
    assert what in caplog.text
    with pytest.raises(DataError, match=r"the format \.mnc is not read"):
        read_scan(folder / "sub-1" / "sub-2_T1w.mnc")


def test_evaluate_reads_any_format_and_names_what_it_does_not(tmp_path):
    for part, name in (("truth", "a.seg.nrrd"), ("found", "a.nii.gz")):
        (tmp_path / part).mkdir()
        if name.endswith("nrrd"):
            write_like(tmp_path / part / name, mask() > 0, AFFINE)
        else:
            save(tmp_path / part / name, mask(), AFFINE)
    evaluate_folder(tmp_path / "found", tmp_path / "truth", tmp_path / "out")
    assert ",1.0," in (tmp_path / "out" / "cases.csv").read_text()
    (tmp_path / "found" / "a_seg.dcm").write_bytes(bytes(128) + b"DICM")  # as of `predict`
    evaluate_folder(tmp_path / "found", tmp_path / "truth", tmp_path / "out")
    (tmp_path / "truth" / "b.mnc").write_bytes(b"CDF")
    with pytest.raises(DataError, match=r"b\.mnc: the format \.mnc is not read"):
        evaluate_folder(tmp_path / "found", tmp_path / "truth", tmp_path / "out")
    shutil.copy(tmp_path / "truth" / "b.mnc", tmp_path / "found")
    (tmp_path / "truth" / "b.mnc").unlink()
    with pytest.raises(DataError, match=r"b\.mnc: the format \.mnc is not read"):
        evaluate_folder(tmp_path / "found", tmp_path / "truth", tmp_path / "out")


def test_F13_a_name_without_a_format_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"not named as a scan; give a file that ends in \.nii\.gz"):
        read_scan(tmp_path / "x.txt")
    with pytest.raises(UsageError, match="no file that ends in"):
        find_scans(tmp_path, tmp_path / "out")


META = "ObjectType = Image\nNDims = 3\nDimSize = 6 7 8\nElementType = MET_SHORT\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 7 8\nspace: LPS\nspace directions: (1,0,0) "
NRRD += "(0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: gzip\n"


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("x.mhd", META + "ElementDataFile = ../v.raw\n", "F12"),
        ("x.mhd", META + "ElementDataFile = /etc/passwd\n", "F12"),
        ("x.mhd", META + "ElementDataFile = \n", "F12"),
        ("x.mhd", META + "ElementDataFile = v\0w\n", "F5"),
        ("x.mhd", META + "ElementDataFile = LIST\na\nb\n", "F12"),
        ("x.mhd", META, "F5"),
        ("x.mha", "no MetaImage", "F5"),
        ("._x.mhd", "\0\5\x16\7" + "\0" * 200, "F5"),
        ("x.mha", META.replace("6 7 8", "-6 7 8") + "ElementDataFile = LOCAL\n1", "F15"),
        ("x.mha", META.replace("6 7 8", "six") + "ElementDataFile = LOCAL\n1", "F5"),
        ("x.mha", META.replace("6 7 8", "60000 7000 8000") + "ElementDataFile = LOCAL\n1", "F14"),
        ("x.mha", META.replace("SHORT", "RGB") + "ElementDataFile = LOCAL\n1", "F5"),
        ("x.nrrd", NRRD + "data file: /etc/passwd\n\n", "F12"),
        ("x.nrrd", NRRD.replace("6 7 8", "60000 7000 8000") + "\n1", "F14"),
        ("x.nrrd", NRRD.replace("6 7 8", "0 7 8") + "\n1", "F15"),
        ("x.nrrd", "no NRRD", "F5"),
        ("x.mgh", "\0\0\0\1" + "\x7f" * 600, "F5"),
        ("x.mgh", "\0" * 600, "F5"),
        ("x.mgz", "no gzip", "F5"),
    ],
)
def test_F5_R8_a_damaged_file_of_another_format_is_one_line(name, content, row, tmp_path):
    (tmp_path / name).write_bytes(content.encode("latin1"))
    (problem,) = check(tmp_path / name)
    assert problem.row == row
    assert "\n" not in str(problem)
