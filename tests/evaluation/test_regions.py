import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.evaluation.regions import Atlas

SHAPE, AFFINE = (12, 12, 12), np.diag([1.0, 1.0, 1.0, 1.0])


@pytest.fixture
def files(tmp_path):
    """An atlas of two halves at 2 mm, its first axis flipped, and its names."""
    regions = np.ones((6, 6, 6), np.int16)
    regions[3:] = 7
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 0.5
    flipped = nib.Nifti1Image(
        regions[::-1], affine @ nib.affines.from_matvec(np.diag([-1, 1, 1]), [5, 0, 0])
    )
    nib.save(flipped, tmp_path / "atlas.nii.gz")
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\tfirst\n7\tsecond\n")
    return tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv"


def test_overlap_is_counted_by_region(files):
    atlas = Atlas.read(*files, SHAPE, AFFINE)
    mask = np.zeros(SHAPE, bool)
    mask[5:9, :2, :2] = True  # one plane of the first region, three of the second
    second, first = atlas.overlap(mask)
    assert (first["region"], second["region"]) == ("first", "second")
    assert (first["lesion_ml"], second["lesion_ml"]) == (0.004, 0.012)
    assert second["share_of_lesion"] == 0.75
    assert second["share_of_region"] == pytest.approx(12 / 864, abs=1e-4)
    assert list(atlas.overlap(np.zeros(SHAPE, bool))) == []


def test_what_is_no_atlas_is_refused(files, tmp_path):
    image, labels = files
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 0.5, np.float32), AFFINE), tmp_path / "half.nii")
    with pytest.raises(DataError, match="no 3D volume of whole numbers"):
        Atlas.read(tmp_path / "half.nii", labels, SHAPE, AFFINE)
    labels.write_text("number\tname\n1\tfirst\n")
    with pytest.raises(DataError, match="columns index and name"):
        Atlas.read(image, labels, SHAPE, AFFINE)
