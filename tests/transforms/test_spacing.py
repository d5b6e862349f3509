import nibabel as nib
import numpy as np
import pytest
import torch

from stroke_nets.datasets.manifest import datalist
from stroke_nets.errors import UsageError
from stroke_nets.transforms.load_scan import LoadScand
from stroke_nets.transforms.nnunet_spacing import NNUNetSpacingd
from stroke_nets.transforms.spacing import OwnSpacingd, spacing_by


def test_a_path_beside_the_image_is_left_alone_and_the_inverse_is_monais(tmp_path):
    path = str(tmp_path / "scan.nii.gz")
    ramp = np.linspace(0, 1, 12**3, dtype=np.float32).reshape(12, 12, 12)
    nib.save(nib.Nifti1Image(ramp, np.eye(4)), path)
    image = LoadScand("image")({"image": path})["image"]
    transform = OwnSpacingd(["image", "label"], pixdim=(2, 2, 2), allow_missing_keys=True)
    coarse = transform({"image": image, "image_path": path})
    assert coarse["image_path"] == path
    assert coarse["image"].shape == (1, 6, 6, 6)
    assert transform.inverse({"image": coarse["image"]})["image"].shape == (1, 12, 12, 12)


def test_the_rule_is_linear_or_nnunets():
    assert isinstance(spacing_by("linear", ["image", "label"], (2, 2, 2)), OwnSpacingd)
    assert isinstance(spacing_by("nnunet", ["image", "label"], (2, 2, 2)), NNUNetSpacingd)
    with pytest.raises(UsageError, match="resampling 'cubic': choose one of linear, nnunet"):
        spacing_by("cubic", ["image"], (2, 2, 2))


@pytest.mark.parametrize("step", ["train", "inference"])
def test_a_bundle_resamples_by_the_rule(bundle_config, simulated, step):
    options = {"spacing": [8.0, 8.0, 8.0], "register": False, "dataset_dir": str(simulated)}
    case = datalist(str(simulated))[0]
    made = {}
    for rule in ("linear", "nnunet"):
        parser = bundle_config("mscsa_default", step, **options, resampling=rule)
        made[rule] = parser.get_parsed_content("preprocessing")(dict(case))
    assert not torch.equal(made["linear"]["image"], made["nnunet"]["image"])
    for one in made.values():
        np.testing.assert_allclose(one["image"].pixdim, 8, rtol=0.05)  # a whole number of voxels
        assert one["label"].unique().tolist() == [0, 1]
