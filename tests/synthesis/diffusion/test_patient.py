"""Patients in diffusion MRI. Whether they look like real ones: ``tests/real/test_diffusion.py``."""

import copy

import numpy as np
import pytest
import torch

from stroke_nets.synthesis.diffusion import Habit, Patients, make_patient
from stroke_nets.synthesis.diffusion.lesions import add_acute, add_old
from stroke_nets.synthesis.diffusion.patient import paint_head
from stroke_nets.synthesis.diffusion.scanner import distort
from stroke_nets.synthesis.diffusion.signals import PRIORS, draw_signals, measured_adc, weighted
from stroke_nets.synthesis.t1w import read_sources
from stroke_nets.synthesis.t1w.lesion_shapes import draw_blob
from stroke_nets.synthesis.t1w.tissues import TISSUES
from stroke_nets.transforms.brain_box import SHAPE, brain_mask


@pytest.fixture(scope="module")
def template():
    return read_sources(None)


@pytest.fixture
def head(template):
    """A head's signals, before age, lesions and scanner; and those of its tissues."""
    rng = np.random.default_rng(1)
    signals = draw_signals(rng)
    return paint_head(rng, template.anatomies[0], signals), signals


def test_a_patient_is_always_the_same(template):
    first, again = (make_patient(3, 7, template) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    image, mask = first
    assert image.shape == (2, *SHAPE)
    assert (image.dtype, mask.dtype) == (torch.float32, torch.bool)
    assert not image[:, ~brain_mask()].any()
    assert not mask[~brain_mask()].any()
    assert not torch.equal(image, make_patient(3, 8, template)[0])


def test_a_healthy_patient_has_no_lesion(template):
    assert not make_patient(0, 0, template, Habit(healthy=1, old=1))[1].any()


def test_an_old_infarct_is_a_lesion_by_option_alone(template):
    habits = [Habit(healthy=1, old=1, old_is_lesion=marked) for marked in (False, True)]
    (image, none), (same, mask) = (make_patient(0, 1, template, habit) for habit in habits)
    assert torch.equal(image, same)
    assert mask.any() > none.any()


def test_without_an_adc_map_the_dwi_is_the_same(template):
    (alone, _), (both, _) = (make_patient(0, 2, template, Habit(dwi_alone=n)) for n in (1, 0))
    assert torch.equal(alone[0], both[0])
    assert not alone[1].any()
    assert 0.5 < both[1][both[1] > 0].median() < 1.2


def test_the_data_set_gives_mirror_images_last(template):
    patient = Patients(template, count=1, seed=5)[0]
    image, mask = make_patient(5, 0, template)
    assert torch.equal(patient["image"], torch.cat([image, image.flip(1)]))
    assert torch.equal(patient["label"][0] > 0, mask)


def test_the_adc_of_the_signal_equation_is_the_prior_of_each_tissue():
    signals = draw_signals(np.random.default_rng(0))
    assert {tissue.name for tissue in TISSUES} == PRIORS.keys()
    for index, tissue in enumerate(TISSUES[1:-1], 1):  # air has no signal
        low, high = PRIORS[tissue.name].adc
        assert low - 1e-3 < float(measured_adc(signals.of(index))) < high + 1e-3
    assert measured_adc(weighted(torch.ones(1, 1, 1), 0.4)).item() == pytest.approx(0.4)


def blob(head, seed=0):
    return draw_blob(np.random.default_rng(seed), head.tissue(), 3000.0)


def test_an_acute_infarct_is_bright_in_dwi_and_dark_in_the_adc(head):
    (head, signals), before = head, copy.deepcopy(head[0])
    outline = add_acute(np.random.default_rng(2), head, [blob(head)], signals, plain=False)
    rise = (head.image[1] / before.image[1])[outline]
    fall = (measured_adc(head.image) / measured_adc(before.image))[outline]
    assert outline.sum() > 500
    assert rise.median() > 1.3
    assert fall.median() < 0.85
    assert (rise > 1.05).float().mean() > 0.95  # nothing that looks healthy is outlined
    far = blob(before) == 0
    assert torch.equal(head.image[:, far], before.image[:, far])


def test_an_old_infarct_has_a_high_adc(head):
    head, _ = head
    before = copy.deepcopy(head)
    old = add_old(np.random.default_rng(1), head, blob(head))
    assert (measured_adc(head.image) / measured_adc(before.image))[old].median() > 1.3


def test_a_pile_up_is_bright_in_dwi_and_not_dark_in_the_adc(head):
    head, _ = head
    moved = distort(np.random.default_rng(0), head.image, head)
    bright = (moved[1] > 1.5 * head.image[1]) & (head.brain > 0.9)
    assert bright.sum() > 50
    change = measured_adc(moved)[bright] - measured_adc(head.image)[bright]
    assert change.median().abs() < 0.1


def test_signal_piles_up_on_both_sides_of_the_base_of_the_skull(template):
    """As in real patients, whose pile-ups above the petrous bones were taken for infarcts."""
    habit = Habit(healthy=1, old=0, dwi_alone=0, stripped=1)
    both = 0
    for index in range(12):
        dwi, adc = make_patient(4, index, template, habit)[0]
        bright = (dwi > 1.8) & (adc > 0.7)
        both += bool((bright & bright.flip(0))[:, :, :40].sum() > 100)
    assert both >= 4
