import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from stroke_nets.errors import UsageError
from stroke_nets.inference import backend
from stroke_nets.inference.backend import (
    BackendInferer,
    compiled,
    fastest,  # not the one that the tests have in its place
    fingerprint,
    with_backend,
)
from stroke_nets.inference.ensemble import EnsembleInferer
from stroke_nets.inference.sliding_patch import PatchInferer
from stroke_nets.networks.ensemble import Ensemble

SHAPE = (2, 1, 8, 8, 8)


class Tiny(nn.Module):
    """The layers of a U-Net's stage."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU()
        )
        self.head = nn.Conv3d(4, 2, 1)

    def forward(self, image):
        return self.head(self.convs(image))


@pytest.fixture
def network():
    return Tiny().eval()


@pytest.fixture
def batch():
    return torch.rand(3, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["compile", "openvino"])
def compiling(request):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    elif shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    return request.param


def test_compiled_networks_agree_and_are_kept(network, batch, tmp_path, compiling, monkeypatch):
    run = compiled(network, SHAPE, compiling, tmp_path, precision="float32")
    with torch.no_grad():
        expected = network(batch)
    # three samples by batches of two; float32 sums in another order
    torch.testing.assert_close(run(batch), expected, rtol=1e-4, atol=1e-5)
    if compiling == "compile":
        assert not [*tmp_path.iterdir()]  # PyTorch's artifacts would be unpickled
        return
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".openvino"
    monkeypatch.setattr(backend, "_converted", None)  # not to be compiled again
    again = compiled(network, SHAPE, compiling, tmp_path, precision="float32")
    torch.testing.assert_close(again(batch), run(batch))
    assert [*tmp_path.iterdir()] == [kept]
    assert not sys.modules.get("openvino_telemetry")


def test_a_damaged_file_is_made_again(network, batch, tmp_path, caplog):
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    file = tmp_path / f"{fingerprint(network, SHAPE, False)}.openvino"
    file.write_bytes(b"no model")
    run = compiled(network, SHAPE, "openvino", tmp_path, precision="float32")
    assert run(batch).shape == (3, 2, 8, 8, 8)
    assert "compiling again" in caplog.text
    assert file.stat().st_size > 1000


@pytest.mark.parametrize("place", [0, 40, -1])
def test_X1_a_compiled_network_with_one_flipped_bit_is_made_again(
    network, batch, tmp_path, caplog, place
):
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    expected = compiled(network, SHAPE, "openvino", tmp_path, precision="float32")(batch)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    again = compiled(network, SHAPE, "openvino", tmp_path, precision="float32")
    assert torch.equal(again(batch), expected)
    assert "compiling again" in caplog.text


def test_X1_no_compiled_network_is_taken_from_a_folder_of_others(network, tmp_path, caplog):
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    tmp_path.chmod(0o777)
    compiled(network, SHAPE, "openvino", tmp_path, precision="float32")
    assert not [*tmp_path.iterdir()]
    assert "others can write there" in caplog.text


def test_torch_is_the_network_itself(network, batch):
    run = compiled(network.train(), SHAPE, "torch", precision="float32")
    with torch.no_grad():
        assert torch.equal(run(batch), network.eval()(batch))


def test_bfloat16_is_near_and_returns_float32(network, batch):
    run = compiled(network, SHAPE, "torch", precision="bfloat16")
    with torch.no_grad():
        expected = Tiny().eval()(batch)
    found = run(batch)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    # 8 bits of mantissa: 2^-8 of values up to about 2
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.03)


def test_the_fingerprint_follows_weights_code_shape_and_precision(network):
    first = fingerprint(network, SHAPE, False)
    assert fingerprint(Tiny().eval(), SHAPE, False) == first
    assert fingerprint(network, SHAPE, True) != first
    assert fingerprint(network, (1, *SHAPE[1:]), False) != first
    network.convs[2].negative_slope = 0.2
    other = fingerprint(network, SHAPE, False)
    network.head.bias.data += 1
    assert len({first, other, fingerprint(network, SHAPE, False)}) == 3


def test_choices_are_checked(network, monkeypatch):
    with pytest.raises(UsageError, match="did you mean openvino"):
        compiled(network, SHAPE, "openvion")
    with pytest.raises(UsageError, match="precision 'half'"):
        compiled(network, SHAPE, "torch", precision="half")
    with pytest.raises(UsageError, match="not on cuda"):
        backend.choose_backend("openvino", torch.device("cuda"))
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install openvino"):
        with_backend(PatchInferer((8, 8, 8)), "openvino", "auto")
    assert fastest(torch.device("cpu")) == "torch"
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: name)
    assert fastest(torch.device("cpu")) == "openvino"
    assert fastest(torch.device("cuda")) == "torch"


def convolutions(network):
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]


def test_volumes_on_a_cpu_keep_their_channels_first(network, batch):
    seen = []
    network.convs.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    compiled(network, SHAPE, "torch", precision="bfloat16")(batch)
    assert all(weight.is_contiguous() for weight in convolutions(network))
    assert all(one.is_contiguous() for one in seen)


def test_slices_in_bfloat16_have_their_channels_last():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)).eval()
    expected = network(torch.ones(1, 3, 8, 8))
    found = compiled(network, (1, 3, 8, 8), "torch", precision="bfloat16")(torch.ones(1, 3, 8, 8))
    (first, _) = convolutions(network)
    assert first.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.03)


def test_openvino_keeps_instance_normalization_whole(network):
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    kinds = [node.get_type_name() for node in backend._converted(network, SHAPE).get_ops()]
    assert kinds.count("MVN") == 1
    assert "ReduceMean" not in kinds


@pytest.fixture
def automatic(monkeypatch):
    """``auto`` takes OpenVINO, as for users."""
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    monkeypatch.setattr(backend, "fastest", lambda device: "openvino")


def test_auto_takes_openvino_where_it_agrees(network, batch, tmp_path, automatic, caplog):
    run = compiled(network, SHAPE, "auto", tmp_path, precision="float32")
    torch.testing.assert_close(run(batch), network(batch), rtol=1e-4, atol=1e-5)
    assert [file.suffix for file in tmp_path.iterdir()] == [".openvino"]
    assert not caplog.records


def test_auto_takes_pytorch_where_openvino_is_wrong(
    network, batch, tmp_path, automatic, caplog, monkeypatch
):
    right = backend._converted
    other = Tiny().eval()
    other.head.weight.data = -other.head.weight.data
    monkeypatch.setattr(backend, "_converted", lambda _, shape: right(other, shape))
    run = compiled(network, SHAPE, "auto", tmp_path, precision="float32")
    with torch.no_grad():
        assert torch.equal(run(batch), network(batch))
    assert "off those of PyTorch" in caplog.text
    assert not [*tmp_path.iterdir()]  # nothing wrong is kept
    asked = compiled(network, SHAPE, "openvino", tmp_path, precision="float32")
    assert not torch.allclose(asked(batch), network(batch))  # who names it gets it


def test_a_gpu_runs_a_module_as_it_is_unless_asked_otherwise():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert backend.described("auto", "auto", gpu) == backend.AS_IT_IS
    assert backend.described("torch", "bfloat16", gpu) == "torch, bfloat16"
    assert backend.described("torch", "float32", cpu) == backend.AS_IT_IS


def test_the_users_cache_keeps_the_newest(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = backend.user_cache()
    for number in range(backend.KEPT + 2):
        (folder / str(number)).touch()
        os.utime(folder / str(number), (number, number))
    assert backend.user_cache() == folder == tmp_path / "stroke-nets" / "compiled"
    left = sorted(int(file.name) for file in folder.iterdir())
    assert left == list(range(2, backend.KEPT + 2))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "2"))  # a file
    assert backend.user_cache() is None


def test_auto_precision_asks_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for able in ({"amx_bf16": True}, {"avx512_bf16": True}, {}, {"avx2": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert backend.choose_bfloat16("auto", cpu) == ("avx2" not in able and bool(able))


def test_an_inferer_runs_by_a_backend(network):
    volume, plain = torch.rand(1, 1, 8, 9, 10), PatchInferer((8, 8, 8))
    assert isinstance(with_backend(plain, "torch", "float32"), BackendInferer)
    swept = BackendInferer(plain, "torch", "float32")(volume, network)
    with torch.no_grad():
        assert torch.equal(swept, plain(volume, network))


def test_each_network_of_an_ensemble_runs_by_a_backend(monkeypatch):
    built = []
    monkeypatch.setattr(
        backend, "compiled", lambda network, *_, **__: built.append(network) or network
    )
    inferer = with_backend(EnsembleInferer(PatchInferer((8, 8, 8))), "torch", "bfloat16")
    inferer(torch.rand(1, 1, 8, 9, 8), Ensemble([lambda: Tiny().eval()] * 3))
    assert len({id(network) for network in built}) == len(built) == 3


def test_signals_are_still_handled_when_compiled_networks_are_given_up():
    pytest.importorskip("openvino", reason="the extra stroke-nets[fast] is not installed")
    program = """
import os, signal
import torch
from stroke_nets.inference.backend import compiled
networks = [torch.nn.Conv3d(1, count, 3).eval() for count in (1, 2)]
first, second = (compiled(network, (1, 1, 4, 4, 4), "openvino") for network in networks)
del first, second  # in this order: each core of OpenVINO would put back what it found
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
