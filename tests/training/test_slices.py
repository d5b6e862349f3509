import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Lambdad, RandGaussianNoised

from stroke_nets.errors import DataError
from stroke_nets.training.slices import SliceDataset, SomeStacks, VolumeDataset, slice_stacks

VOLUMES = {"a": 5, "b": 3}


class Load:
    """Stands in for the preprocessing, counting its calls outside of its settings."""

    calls = 0

    def __call__(self, case):
        Load.calls += 1
        name = case["image"][-1]
        voxels = np.random.default_rng(ord(name)).random((1, 4, 6, VOLUMES[name]))
        label = np.zeros_like(voxels)
        label[..., 1] = 1
        return {"image": MetaTensor(voxels), "label": MetaTensor(label)}


@pytest.fixture
def cases(tmp_path):
    for name in VOLUMES:
        (tmp_path / name).write_text(name)
    return [{"image": str(tmp_path / n), "label": str(tmp_path / n)} for n in VOLUMES]


@pytest.mark.parametrize("offsets", [(-2, -1, 0, 1), (0,), (-1, 0, 1)])
def test_slices_are_the_inferers_stacks(cases, tmp_path, offsets):
    slices = SliceDataset(cases, Load(), str(tmp_path / "cache"), offsets)
    volumes = VolumeDataset(cases, Load(), str(tmp_path / "cache"))
    assert len(slices) == 8
    stacks = torch.cat([slice_stacks(torch.as_tensor(v["image"][0]), offsets) for v in volumes])
    found = torch.stack([torch.as_tensor(s["image"]) for s in slices])
    assert torch.equal(found, stacks)
    assert [s["label"].any() for s in slices] == [i in (1, 6) for i in range(8)]


def test_half_of_the_draws_can_hold_a_lesion(cases, tmp_path):
    weights = SliceDataset(cases, Load(), str(tmp_path / "cache")).lesion_weights(0.5)
    # two slices of eight hold a lesion
    assert weights == pytest.approx([1 / 12, 1 / 4] + [1 / 12] * 4 + [1 / 4, 1 / 12])


def test_all_bad_files_are_reported(tmp_path):
    from stroke_nets.transforms.load_scan import LoadScand

    cases = [{"image": f"{n}.nii.gz", "label": "m.nii.gz"} for n in ("x", "y")]
    from monai.transforms import Compose

    with pytest.raises(DataError, match=r"(?s)x\.nii\.gz: no such file.*y\.nii\.gz: no such file"):
        SliceDataset(cases, Compose([LoadScand(["image", "label"])]), str(tmp_path / "cache"))


def test_stacks_are_augmented_one_by_one(cases, tmp_path):
    plain = SliceDataset(cases, Load(), str(tmp_path / "cache"))
    flip = Compose([Lambdad("image", lambda image: -image)])
    changed = SliceDataset(cases, Load(), str(tmp_path / "cache"), augment=flip)
    assert all(np.array_equal(a["image"], -b["image"]) for a, b in zip(changed, plain, strict=True))


def test_a_slice_is_augmented_alike_within_an_epoch_and_otherwise_in_the_next(cases, tmp_path):
    noise = Compose([RandGaussianNoised("image", prob=1)])
    slices = SliceDataset(cases, Load(), str(tmp_path / "cache"), augment=noise)
    drawn = []
    for epoch in (0, 1, 0):
        slices.set_epoch(epoch)
        drawn.append(np.stack([np.asarray(slices[i]["image"]) for i in range(2)]))
    assert np.array_equal(drawn[0], drawn[2])
    assert not np.isclose(drawn[0], drawn[1]).any()


def test_half_of_some_stacks_lie_in_the_lesion():
    image = torch.arange(10.0).expand(2, 3, 4, 10)  # each slice holds its number
    label = torch.zeros(1, 3, 4, 10)
    label[..., 1, 6:8] = 1
    items = SomeStacks(8)({"image": image, "label": label})
    numbers = [int(item["image"][2, 0, 0]) for item in items]
    assert numbers == [6, 6, 7, 7, 1, 3, 6, 8]  # slices 1 to 8 have both neighbours
    for z, item in zip(numbers, items, strict=True):
        assert torch.equal(item["label"], label[..., z])
        assert item["image"][:, 0, 0].tolist() == [max(z - 2, 0), z - 1, z, z + 1]
    healthy = SomeStacks(5)({"image": image, "label": torch.zeros_like(label)})
    assert [int(item["image"][2, 0, 0]) for item in healthy] == [1, 3, 5, 7, 9]
