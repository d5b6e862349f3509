import nibabel as nib
import numpy as np
from monai.transforms import LoadImage

from stroke_nets.transforms.spacing import OwnSpacingd


def test_a_path_beside_the_image_is_left_alone_and_the_inverse_is_monais(tmp_path):
    path = str(tmp_path / "scan.nii.gz")
    ramp = np.linspace(0, 1, 12**3, dtype=np.float32).reshape(12, 12, 12)
    nib.save(nib.Nifti1Image(ramp, np.eye(4)), path)
    image = LoadImage(ensure_channel_first=True)(path)
    transform = OwnSpacingd(["image", "label"], pixdim=(2, 2, 2), allow_missing_keys=True)
    coarse = transform({"image": image, "image_path": path})
    assert coarse["image_path"] == path
    assert coarse["image"].shape == (1, 6, 6, 6)
    assert transform.inverse({"image": coarse["image"]})["image"].shape == (1, 12, 12, 12)
