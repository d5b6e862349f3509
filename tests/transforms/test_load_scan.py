import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.transforms.load_scan import LoadScand


def save(path, shape=(4, 5, 6), affine=None):
    voxels = np.zeros(shape, np.uint8)
    voxels[1:3] = 1
    if path.name.startswith("a."):  # the scan
        voxels[2] = 2
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return str(path)


def test_loads_on_one_grid(tmp_path):
    case = {"image": save(tmp_path / "a.nii.gz"), "label": save(tmp_path / "b.nii")}
    assert LoadScand(["image", "label"])(case)["label"].shape == (1, 4, 5, 6)


def test_accepts_a_mask_in_another_orientation(tmp_path):
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 3
    case = {
        "image": save(tmp_path / "a.nii.gz"),
        "label": save(tmp_path / "b.nii.gz", affine=flipped),
    }
    LoadScand(["image", "label"])(case)


@pytest.mark.parametrize("kind", ["shape", "shift", "flip"])
def test_refuses_a_mask_on_another_grid(tmp_path, kind):
    affine, shape = np.eye(4), (4, 5, 6)
    if kind == "shape":
        shape = (4, 5, 7)
    elif kind == "shift":
        affine[0, 3] = 40
    else:
        affine[0, 0] = -1
    case = {
        "image": save(tmp_path / "a.nii.gz"),
        "label": save(tmp_path / "b.nii.gz", shape, affine),
    }
    with pytest.raises(DataError, match=r"b\.nii\.gz: the mask's .* resample the mask"):
        LoadScand(["image", "label"])(case)


def test_names_a_file_that_is_not_nifti(tmp_path):
    path = tmp_path / "page.nii.gz"
    path.write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"page\.nii\.gz: "):
        LoadScand("image")({"image": str(path)})
