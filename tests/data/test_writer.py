import nibabel as nib
import numpy as np
import pytest
from monai.transforms import SaveImage

from stroke_nets.data.writer import HeaderWriter
from stroke_nets.transforms.load_scan import LoadScand


@pytest.mark.parametrize("codes", [(0, 2), (1, 4), (3, 0)])
def test_mask_has_the_scans_codes_and_units(tmp_path, codes):
    qform, sform = codes
    affine = np.array([[0, -2.0, 0, 5], [0.9, 0, 0, 7], [0, 0, 3, -4], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.float32), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = LoadScand("image")({"image": str(tmp_path / "scan.nii.gz")})["image"]
    save = SaveImage(tmp_path, "pred", writer=HeaderWriter, separate_folder=False, resample=False)
    save(volume > 0)
    mask = nib.load(tmp_path / "scan_pred.nii.gz")
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)  # qform is float32 quaternions
    assert (mask.header["qform_code"], mask.header["sform_code"]) == codes
    assert mask.header.get_xyzt_units() == ("mm", "sec")
    assert [p.name for p in tmp_path.glob(".*")] == []
