"""T1w patients made online: always the same, as dark as real ones, outlined where they changed."""

import nibabel as nib
import numpy as np
import pytest
import torch
from cc3d import connected_components
from monai.data import DataLoader
from scipy.ndimage import maximum_filter

from stroke_nets.errors import DataError, UsageError
from stroke_nets.synthesis.t1w import Habit, Patients, make_patient, prepare, read_sources, sources
from stroke_nets.synthesis.t1w.ageing import grow_old, widen_horn
from stroke_nets.synthesis.t1w.anatomy import Head, paint_head
from stroke_nets.synthesis.t1w.fields import average
from stroke_nets.synthesis.t1w.lesion_shapes import SMALL_ML, VOXEL_ML, draw_blob, draw_small
from stroke_nets.synthesis.t1w.lesion_tissue import add_lesion
from stroke_nets.synthesis.t1w.tissues import FLUID, TISSUES, VENTRICLE, draw_contrast
from stroke_nets.transforms.brain_box import AFFINE, SHAPE, brain_mask

# Intensity within a traced chronic infarct relative to the brain's 90th percentile, percentiles
# 5, 25, 50, 75, 95: sub-M2051 of the Aphasia Recovery Cohort, on the template at 2 mm.
REAL_LESION = (0.07, 0.17, 0.28, 0.46, 0.75)
SCATTER = 0.17  # of a single simulated patient's percentiles; of five together less than a half


@pytest.fixture(scope="module")
def template():
    return read_sources(None)


@pytest.fixture(scope="module")
def ill(template):
    """Five patients with a large drawn lesion and a healthy one, before any scanner."""
    patients = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        contrast = draw_contrast(rng)
        head = paint_head(rng, template.anatomies[0], contrast)
        grow_old(rng, head, contrast)
        before = Head(**{name: volume.clone() for name, volume in vars(head).items()})
        shape = draw_blob(rng, head.tissue(), 6000.0)
        patients.append((before, head, add_lesion(rng, head, shape, contrast, False), contrast))
    return patients


def test_a_patient_is_always_the_same(template):
    first = make_patient(3, 7, template)
    again = make_patient(3, 7, template)
    other = make_patient(3, 8, template)
    for a, b in zip(first, again, strict=True):
        assert a.shape == SHAPE
        assert torch.equal(a, b)
    assert not torch.equal(first[0], other[0])
    image, mask = first
    assert (image.dtype, mask.dtype) == (torch.float32, torch.bool)
    assert image.min() == 0
    assert not image[~brain_mask()].any()
    assert not mask[~brain_mask()].any()


def test_lesions_are_as_dark_as_a_real_one(ill):
    percentiles = []
    for _, head, lesion, _ in ill:
        inside = head.image[brain_mask()]
        bright = inside.kthvalue(int(0.9 * len(inside)))[0]
        found = (head.image / bright)[lesion.outline].numpy()
        percentiles.append(np.percentile(found, [5, 25, 50, 75, 95]))
    assert np.mean(percentiles, axis=0) == pytest.approx(REAL_LESION, abs=SCATTER)
    assert np.min(percentiles, axis=0)[1] < 0.25  # black cavities are among them


def test_an_outline_holds_nothing_that_looks_healthy(ill):
    for before, head, lesion, contrast in ill:
        assert lesion.outline.any()
        change = (before.image - head.image).abs() / (contrast.white - contrast.fluid)
        tissue = (before.tissue() > 0.5) & lesion.outline
        assert (average(average(change))[tissue] > 0.05).float().mean() > 0.97
        far = torch.from_numpy(maximum_filter(lesion.gone.numpy(), 33)) == 0
        assert (before.image - head.image)[far].abs().max() < 0.01 * contrast.white


def test_a_healthy_patient_ages_and_has_no_lesion(template):
    image, mask = make_patient(0, 0, template, Habit(healthy=1.0))
    assert not mask.any()
    assert image.max() > 0.9


def test_one_horn_widens_and_pushes_its_surroundings_away(template):
    half = SHAPE[0] // 2
    for seed in range(4):
        rng = np.random.default_rng(seed)
        head = paint_head(rng, template.anatomies[0], draw_contrast(rng))
        before = Head(**{name: volume.clone() for name, volume in vars(head).items()})
        side = seed % 2
        widen_horn(rng, head, side)
        grown = head.ventricle.sum() - before.ventricle.sum()
        assert grown * VOXEL_ML > 0.5
        assert head.image.max() <= before.image.max()  # nothing is painted
        far = slice(half + 14, None) if side == 0 else slice(None, half - 14)
        assert torch.equal(head.image[far], before.image[far])
        assert ((head.image - before.image).abs() > 0).sum() < 0.2 * head.image.numel()


def test_patients_of_small_lesions(template):
    habit = Habit(healthy=0.0, small=1.0)
    counts, largest = [], 0.0
    for index in range(3):
        lesions = connected_components(make_patient(0, index, template, habit)[1].numpy())
        sizes = np.bincount(lesions.ravel())[1:] * VOXEL_ML
        counts.append(len(sizes))
        largest = max(largest, sizes.max())
    assert max(counts) > 2
    assert largest < 3 * SMALL_ML  # two may touch


def test_small_lesions_lie_where_lacunes_do(template):
    rng = np.random.default_rng(0)
    head = paint_head(rng, template.anatomies[0], draw_contrast(rng))
    far = head.subcortical() > 0
    inside = {
        share: np.mean(
            [float(far[draw_small(rng, head, 0.1, share) > 0.5].float().mean()) for _ in range(40)]
        )
        for share in (0.0, 1.0)
    }
    assert inside[1.0] > inside[0.0] + 0.15  # measured for three seeds: 0.63 to 0.71, 0.86 to 0.95


def test_plain_patients_need_no_masks(template):
    assert len(template.masks) == 0
    _, mask = make_patient(0, 1, template, Habit(healthy=0.0, plain=1.0))
    assert mask.any()


def test_a_worker_makes_the_same_patients(template):
    patients = Patients(template, count=2, seed=5)
    loaded = list(DataLoader(patients, batch_size=1, num_workers=1))
    for index, batch in enumerate(loaded):
        image, mask = make_patient(5, index, template)
        assert torch.equal(batch["image"][0], torch.stack([image, image.flip(0)]))
        assert torch.equal(batch["label"][0, 0] > 0, mask)


def test_epochs_differ_unless_they_validate(template):
    fresh, kept = Patients(template, 1), Patients(template, 1, fresh=False)
    first = kept[0]["image"]
    fresh.set_epoch(1)
    kept.set_epoch(1)
    assert torch.equal(kept[0]["image"], first)
    assert not torch.equal(fresh[0]["image"], first)


def test_prepared_sources_are_on_one_side_each(tmp_path, monkeypatch):
    label_maps, masks = tmp_path / "maps", tmp_path / "masks"
    label_maps.mkdir()
    masks.mkdir()
    affine = AFFINE @ np.diag([4, 4, 4, 1])  # 8 mm: coarse, on the template
    for index in range(4):
        labels = np.full((20, 24, 20), 2, np.int16)
        labels[8:12, 10:14, 8:12] = (4, 24)[index % 2]
        nib.save(nib.Nifti1Image(labels, affine), label_maps / f"seg_{index}.nii.gz")
    for index in range(30):
        lesion = np.zeros((20, 24, 20), np.uint8)
        lesion[5 + index % 8, 9:11, 9:11] = 1
        nib.save(nib.Nifti1Image(lesion, affine), masks / f"mask_{index}.nii.gz")
    monkeypatch.setattr(sources, "_registered", lambda painted: np.eye(4))
    prepare(label_maps, [masks], tmp_path / "out")
    parts = [read_sources(tmp_path / "out", part) for part in sources.PARTS]
    assert [len(part.anatomies) for part in parts] == [1, 2, 1]
    assert sum(len(part.masks) for part in parts) == 30
    assert all(len(part.masks) for part in parts)
    assert parts[0].anatomies.shape[1:] == (len(TISSUES), *SHAPE)
    assert parts[0].anatomies[0, VENTRICLE].any()
    assert parts[2].anatomies[0, FLUID].any()
    assert parts[0].mask_ml == pytest.approx(4 * 8**3 / 1000, rel=0.02)  # rounding to 255ths
    with pytest.raises(UsageError, match="prepared already"):
        prepare(label_maps, [masks], tmp_path / "out")


def test_what_is_not_prepared_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no"):
        read_sources(tmp_path)
    with pytest.raises(UsageError, match="part test"):
        read_sources(tmp_path, "test")
    with pytest.raises(UsageError, match="of 4 or more"):
        prepare(tmp_path, [], tmp_path / "out")
