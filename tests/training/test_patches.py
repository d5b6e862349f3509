import runpy
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import CenterSpatialCropd, Compose, Orientationd, RandGaussianNoised
from scipy.stats import chi2_contingency
from torch.utils.data import DataLoader

from stroke_nets.datasets import manifest
from stroke_nets.errors import UsageError
from stroke_nets.training.patches import PatchDataset, cut_window, patch_start, require_divisible
from stroke_nets.transforms.load_scan import LoadScand

PATCH = [16, 16, 8]
BOTH = ["image", "label"]


@pytest.fixture(scope="module")
def patches(simulated, tmp_path_factory):
    cut = CenterSpatialCropd(BOTH, PATCH)
    return PatchDataset(
        manifest.datalist(str(simulated)),
        Compose(
            [LoadScand(["image", "label"]), Orientationd(["image", "label"], "RAS", labels=None)]
        ),
        str(tmp_path_factory.mktemp("cache")),
        patch_size=PATCH,
        augment=Compose([cut, RandGaussianNoised("image", prob=0.5)]),
        batches=6,
        batch_size=3,
    )


def images(loader):
    return [np.asarray(batch["image"]) for batch in loader]


def test_items_have_the_patch_size(patches):
    assert len(patches) == 18
    item = patches[0]
    assert item["image"].shape == item["label"].shape == (1, *PATCH)


def test_last_third_of_a_batch_is_centred_on_lesion(patches):
    middle = tuple(n // 2 for n in PATCH)
    lesions = sum(v["label"].any() for v in patches.volumes)
    assert lesions < 4  # one simulated patient has none: a random patch instead
    centred = [bool(patches[i]["label"][0][middle]) for i in range(18)]
    assert sum(centred[2::3]) >= 4
    assert sum(centred[0::3]) + sum(centred[1::3]) <= 3


def test_one_patch_a_batch_is_centred_on_lesion(patches):
    patches.batch_size = 1
    assert patches._wants_lesion(0)
    patches.batch_size = 3


def test_workers_do_not_change_an_epoch(patches):
    alone = images(DataLoader(patches, batch_size=3))
    helped = images(DataLoader(patches, batch_size=3, num_workers=2))
    for one, other in zip(alone, helped, strict=True):
        np.testing.assert_array_equal(one, other)


def test_epochs_differ_and_come_back(patches):
    first = patches[4]["image"]
    patches.set_epoch(1)
    second = patches[4]["image"]
    patches.set_epoch(0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, patches[4]["image"])


def test_window_is_zero_outside_the_volume():
    volume = np.arange(1, 25).reshape(2, 3, 4)
    window = cut_window(volume, np.array([-1, 1, 2]), np.array([2, 3, 4]))
    expected = np.zeros((2, 3, 4))
    expected[1, :2, :2] = volume[0, 1:, 2:]
    np.testing.assert_array_equal(window, expected)


def test_window_far_outside_is_empty():
    assert not cut_window(np.ones((2, 2, 2)), np.array([5, 0, 0]), np.array([2, 2, 2])).any()


@pytest.mark.parametrize("patch", [[48, 64, 64], [64, 64, 100]])
def test_patch_that_the_strides_do_not_divide_is_refused(patch):
    with pytest.raises(UsageError, match="multiples of 32"):
        require_divisible(patch, 6)
    require_divisible([64, 64, 64], 6)


# ---- nnU-Net v2's own loader, whose 10,000 draws of each case lie in tests/reference/nnunet

NNUNET = Path(__file__).parents[1] / "reference" / "nnunet"
DRAWN = np.load(NNUNET / "loader.npz")


@pytest.fixture(scope="module")
def nnunet_cases():
    """The label maps, patches and requests that nnU-Net's loader was given."""
    return runpy.run_path(str(NNUNET / "make_loader.py"))["cases"]()


@pytest.mark.parametrize("name", DRAWN.files)
def test_patches_lie_where_nnunet_v2_puts_them(name, nnunet_cases):
    label, patch, lesion = nnunet_cases[name]
    rng = np.random.default_rng(0)
    starts = [patch_start(rng, label, np.asarray(patch), lesion) for _ in range(10_000)]
    for axis, theirs in zip(np.asarray(starts).T + 32, DRAWN[name], strict=True):
        ours = np.bincount(axis, minlength=len(theirs))
        seen = (ours + theirs) > 0
        assert (ours[seen] > 0).tolist() == (theirs[seen] > 0).tolist()  # the same places
        if seen.sum() > 1:  # and as often: 15 axes are tested, so 1e-4 is 0.15 % in all
            assert chi2_contingency([ours[seen], theirs[seen]]).pvalue > 1e-4


def test_a_tiny_class_is_drawn_as_often_as_a_large_one(nnunet_cases):
    """Of 1,728 voxels of class 4 and 2 of class 1, a draw by voxels would take 0.1 % of class 1."""
    label, patch, _ = nnunet_cases["lesion"]
    rng = np.random.default_rng(0)
    starts = np.array([patch_start(rng, label, np.asarray(patch), True) for _ in range(400)])
    assert 150 < (starts[:, 0] > 20).sum() < 250  # 200 is expected; 5 standard deviations are 50
