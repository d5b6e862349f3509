"""What every loss keeps to: finite, float32 under autocast, and one shape of logits and label."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from monai.data import MetaTensor

from stroke_nets.losses.clci_net import CLCINetLoss
from stroke_nets.losses.dice_cross_entropy import DiceCrossEntropyLoss
from stroke_nets.losses.dice_focal import DiceFocalLoss
from stroke_nets.losses.enhanced_mixing import EnhancedMixingLoss
from stroke_nets.losses.lesion_weights import LesionWeightedLoss
from stroke_nets.losses.patch_attention import PatchAttentionLoss
from stroke_nets.losses.sobel_boundary import SobelBoundaryLoss
from stroke_nets.losses.x_net import XNetLoss


@dataclass(frozen=True)
class Case:
    """A loss and what it takes."""

    loss: Callable
    logits: tuple[int, ...] = (2, 1, 8, 8)
    label: tuple[int, ...] = (2, 1, 8, 8)

    def outputs(self, value):
        """Logits that are certain by ``value`` of the lesion, everywhere."""
        logits = torch.zeros(self.logits)
        logits[:, -1] = value
        return logits.requires_grad_()


CUBES = {"logits": (2, 2, 4, 4, 4), "label": (2, 1, 4, 4, 4)}
CASES = {
    "clci_net": Case(CLCINetLoss()),
    "dice_cross_entropy": Case(DiceCrossEntropyLoss(), **CUBES),
    "hardest_tenth": Case(DiceCrossEntropyLoss(0.1), **CUBES),
    "dice_focal": Case(DiceFocalLoss(), **CUBES),
    "enhanced_mixing": Case(EnhancedMixingLoss()),
    "lesion_weights": Case(LesionWeightedLoss(0.1, power=1.5), **CUBES),
    "patch_attention": Case(
        lambda logits, label: PatchAttentionLoss()([logits], label), (2, 1, 6, 6), (2, 1, 12, 12)
    ),
    "sobel_boundary": Case(SobelBoundaryLoss()),
    "x_net": Case(XNetLoss()),
}
PLANES = [name for name, case in CASES.items() if case.logits == case.label]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.parametrize("value", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("fill", [0, 1])
def test_finite_on_empty_and_full_masks(case, value, fill):
    logits = case.outputs(value)
    loss = case.loss(logits, torch.full(case.label, fill, dtype=torch.uint8))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_float32_under_autocast(case):
    torch.manual_seed(0)
    logits, label = torch.randn(case.logits).bfloat16(), torch.rand(case.label) > 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = case.loss(logits, MetaTensor(label.byte()))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.loss(logits.float(), label.byte()).item(), rel=1e-6)


@pytest.mark.parametrize("name", PLANES)
def test_other_shapes_are_refused(name):
    refused = (ValueError, AssertionError)  # ours and PyTorch's; MONAI's
    with pytest.raises(refused, match=r"differ in|must be the same|different shape|dimensions"):
        CASES[name].loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
