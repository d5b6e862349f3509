import pytest
import torch
import torch.nn.functional as F

from stroke_nets.losses.sobel_boundary import SobelBoundaryLoss, sobel_magnitude

KERNEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def test_step_edge_by_hand():
    # A vertical step of 1 between columns 1 and 2: gx = 1 + 2 + 1 = 4 on either side, gy = 0.
    image = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 3, 4)
    expected = torch.tensor([0.001, 4.0, 4.0, 0.001]).expand(1, 1, 3, 4)
    torch.testing.assert_close(sobel_magnitude(image), expected)


def test_single_pixel_by_hand():
    # gx around a one: -1, -2, -1 on its right and 1, 2, 1 on its left; gy is the transpose.
    # Corners sqrt(1 + 1), sides 2, and 0 at the pixel itself (sqrt(1e-6) = 0.001).
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    corner = 2**0.5
    expected = torch.full((5, 5), 0.001)
    expected[1:4, 1:4] = torch.tensor(
        [[corner, 2.0, corner], [2.0, 0.001, 2.0], [corner, 2.0, corner]]
    )
    torch.testing.assert_close(sobel_magnitude(image)[0, 0], expected, atol=1e-6, rtol=1e-6)


def test_equals_the_convolution():
    torch.manual_seed(0)
    image = torch.rand(2, 1, 7, 6)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    gx, gy = F.conv2d(padded, torch.stack([KERNEL, KERNEL.T])[:, None]).unbind(1)
    expected = torch.sqrt(gx**2 + gy**2 + 1e-6)[:, None]
    torch.testing.assert_close(sobel_magnitude(image), expected)


def test_border_is_no_edge():
    torch.testing.assert_close(
        sobel_magnitude(torch.ones(1, 1, 4, 4)), torch.full((1, 1, 4, 4), 0.001)
    )


def test_loss_by_hand():
    # Logits 0 have p = 1/2 everywhere and no edge; the label's step has 4 in half of its pixels:
    # mean |0.001 - 4| over half, 0 over the other half = 1.9995.
    label = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 3, 4)
    loss = SobelBoundaryLoss()(torch.zeros(1, 1, 3, 4), label)
    assert loss.item() == pytest.approx(1.9995, abs=1e-5)
    assert SobelBoundaryLoss()(200 * (label - 0.5), label).item() == pytest.approx(0, abs=1e-6)
