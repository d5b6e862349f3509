import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from stroke_nets.errors import DataError, UsageError
from stroke_nets.networks.mscsa import MSCSA
from stroke_nets.networks.nnunet import PlainUNet, ResidualBlockD, ResUNet
from stroke_nets.training.checkpoint import load_network, load_weights
from stroke_nets.training.nnunet_weights import from_nnunet

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet",
    reason="nnU-Net's own networks: make test installs them (pip install --no-deps)",
)

WIDTHS = (4, 6, 6, 8)


def theirs(kind, widths=WIDTHS, blocks=(1, 2, 2, 1), deep_supervision=True):
    """A network as nnU-Net v2's plans build it, all its weights drawn at random."""
    torch.manual_seed(0)
    plan = {
        "input_channels": 1,
        "n_stages": len(widths),
        "features_per_stage": widths,
        "conv_op": nn.Conv3d,
        "kernel_sizes": 3,
        "strides": (1,) + (2,) * (len(widths) - 1),
        "num_classes": 2,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": deep_supervision,
    }
    if kind == "plain":
        network = unet.PlainConvUNet(**plan, n_conv_per_stage=2, n_conv_per_stage_decoder=2)
    else:
        network = unet.ResidualEncoderUNet(
            **plan, n_blocks_per_stage=blocks, n_conv_per_stage_decoder=1
        )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    return network


def ours(kind, widths=WIDTHS, **options):
    if kind == "plain":
        return PlainUNet(widths=widths, bias=True, **options)
    blocks = options.pop("blocks", (1, 2, 2, 1))
    return ResUNet(widths=widths, blocks=blocks, block=ResidualBlockD, bias=True, **options)


def checkpoint(network):
    """What nnU-Net v2's trainer saves."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True)
    sum(p.sum() for p in network.parameters()).backward()
    optimizer.step()
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": {"scale": 65536.0, "growth_tracker": 7},
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float32(0.6)],
            "dice_per_class_or_region": [[np.float64(0.5)]],
            "epoch_start_timestamps": [1.7e9],
        },
        "_best_ema": np.float64(0.55),
        "current_epoch": 1000,
        "init_args": {"plans": {"patch_size": [128, 128, 128]}, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


# ---- the same networks


@pytest.mark.parametrize(
    ("kind", "blocks", "expected"),
    [("plain", None, 31_195_594), ("residual", (1, 3, 4, 6, 6, 6), 102_349_770)],
)
def test_full_plans_have_as_many_parameters(kind, blocks, expected):
    widths = (32, 64, 128, 256, 320, 320)
    options = {} if blocks is None else {"blocks": blocks}
    with torch.device("meta"):
        pair = theirs(kind, widths, **options), ours(kind, widths, **options)
        assert [sum(p.numel() for p in network.parameters()) for network in pair] == [expected] * 2
        renamed = from_nnunet(pair[0].state_dict(), pair[1])
    assert renamed.keys() == pair[1].state_dict().keys()


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_same_logits_on_every_level(kind):
    reference, network = theirs(kind).eval(), ours(kind)
    network.load_state_dict(from_nnunet(reference.state_dict(), network))
    image = torch.randn(2, 1, 16, 24, 16)
    with torch.no_grad():
        expected = reference(image)
        logits, lower = network.train()(image)
        # Float32, of order 1: the tolerance.
        for actual, level in zip([logits, *lower], expected, strict=True):
            torch.testing.assert_close(actual, level, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.eval()(image), expected[0], rtol=1e-5, atol=1e-5)


# ---- what does not fit


def test_names_the_first_tensor_of_another_shape():
    line = (
        r"encoder\.stages\.2\.0\.convs\.0\.conv\.weight has shape \(6, 6, 3, 3, 3\), "
        r"encoder\.2\.0\.0\.weight of the network \(5, 6, 3, 3, 3\)"
    )
    with pytest.raises(DataError, match=line):
        from_nnunet(theirs("plain").state_dict(), ours("plain", (4, 6, 5, 8)))


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (lambda: ours("plain", (4, 6, 6, 8, 8)), r"encoder\.4\.0\.0\.weight .* missing"),
        (lambda: ours("plain", (4, 6, 6)), r"decoder\.transpconvs\.0\.weight has shape \(8, 6"),
        (lambda: ours("residual"), r"stem\.0\.weight .* missing"),
        (
            lambda: ours("plain", skip_attention=MSCSA(WIDTHS, heads=2)),
            r"skip_attention\..* missing",
        ),
    ],
)
def test_refuses_what_does_not_fit(network, line):
    with pytest.raises(DataError, match=line):
        from_nnunet(theirs("plain").state_dict(), network())


def test_network_without_biases_has_no_place_for_them():
    with pytest.raises(DataError, match=r"bias has no place in the network"):
        from_nnunet(theirs("plain").state_dict(), PlainUNet(widths=WIDTHS))


# ---- the checkpoint


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_loads_a_checkpoint(kind, tmp_path):
    reference = theirs(kind, deep_supervision=False).eval()
    saved = checkpoint(reference)
    torch.save(saved, tmp_path / "checkpoint_final.pth")
    network = load_network(ours(kind), tmp_path / "checkpoint_final.pth")
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(image), reference(image), rtol=1e-5, atol=1e-5)


def test_reads_what_numpy_1_wrote(tmp_path):
    torch.save(checkpoint(theirs("plain")), tmp_path / "new.pth")
    with (
        zipfile.ZipFile(tmp_path / "new.pth") as new,
        zipfile.ZipFile(tmp_path / "old.pth", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            old.writestr(name, content)
    load_weights(tmp_path / "old.pth", ours("plain"))


class MakesFolder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.path),)


def test_X1_a_checkpoint_executes_nothing(tmp_path):
    trap, file = tmp_path / "made", tmp_path / "checkpoint_final.pth"
    torch.save(checkpoint(theirs("plain")) | {"logging": MakesFolder(trap)}, file)
    with pytest.raises(DataError, match=r"checkpoint_final\.pth: cannot be read"):
        load_weights(file, ours("plain"))
    assert not trap.exists()
    torch.load(file, weights_only=False)  # the trap works
    assert trap.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps([1], protocol=2)])
def test_names_an_unreadable_file(content, tmp_path):
    file = tmp_path / "checkpoint_final.pth"
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{file}: ")) as caught:
        load_weights(file, ours("plain"))
    assert "\n" not in str(caught.value)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_weights(tmp_path / "nowhere.pt", ours("plain"))


@pytest.mark.parametrize("content", [{"network": {}}, [1]])
def test_names_a_file_without_weights(content, tmp_path):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(DataError, match=r"last\.pt: "):
        load_weights(tmp_path / "last.pt", ours("plain"))


def test_names_the_file_whose_weights_do_not_fit(tmp_path):
    torch.save(checkpoint(theirs("plain")), tmp_path / "checkpoint_final.pth")
    with pytest.raises(DataError, match=r"checkpoint_final\.pth: .* has shape"):
        load_weights(tmp_path / "checkpoint_final.pth", ours("plain", (2, 6, 6, 8)))
