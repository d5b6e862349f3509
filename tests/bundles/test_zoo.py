"""What MONAI's model zoo asks of a bundle, of every bundle, by MONAI's own functions.

Networks are narrow, and run in this process, from a working directory that is not the clone's.
`test_slice_bundles.py` and `test_patch_bundles.py` ask for `check_properties() == []`.
"""

import inspect
import json
import pydoc
import re
import shutil
import tempfile
from pathlib import Path

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export, verify_metadata, verify_net_in_out

from stroke_nets.bundle_folders import bundle_names, bundles_root

ROOT = bundles_root()
SCHEMA = Path(__file__).parents[1] / "reference" / "monai" / "meta_schema_20240725.json"
BASES = ("train.yaml", "inference.yaml", "evaluate.yaml", "whole_brain_train.yaml")
SPATIAL = "_meta_#network_data_format#inputs#image#spatial_shape"
pytestmark = [
    pytest.mark.filterwarnings("default"),  # MONAI and the exporters warn about their own calls
    pytest.mark.usefixtures("elsewhere"),
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory that holds nothing; two equal keys in one file are an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # exporters leave files in it
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")


def inference_files(bundle):
    configs = ROOT / bundle / "configs"
    return [str(f) for f in (configs / "inference.yaml", configs / "packed.yaml") if f.is_file()]


@pytest.fixture(scope="module", params=bundle_names())
def bundle(request):
    return request.param


@pytest.fixture(scope="module")
def saved(bundle, narrow, tmp_path_factory):
    """A narrow network of a bundle in evaluation mode, its checkpoint, and an image."""
    parser = ConfigParser()
    parser.read_config(inference_files(bundle))
    sizes, shape = narrow(bundle)
    parser.update(sizes)
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    path = tmp_path_factory.mktemp(bundle) / "model.pt"
    torch.save(network.state_dict(), path)
    return network, path, torch.rand(shape)


@pytest.fixture
def export(bundle, saved, narrow):
    """One of MONAI's exporters, with the bundle's arguments."""
    sizes, shape = narrow(bundle)
    return lambda function, filepath, **options: function(
        net_id="network_def",
        filepath=str(filepath),
        ckpt_file=str(saved[1]),
        meta_file=str(ROOT / bundle / "configs" / "metadata.json"),
        config_file=inference_files(bundle),
        input_shape=shape,
        **options,
        **sizes,
    )


def fits(overlay, *bases):
    """Whether every key of an overlay is one of a file it lies over, or one that it uses itself.

    ``a::b`` may also be an argument that the class of ``a`` takes, and its file leaves out.
    """
    own = json.dumps(overlay)
    for key, value in overlay.items():
        path = key.removeprefix("+").split("::")
        new = value == "%run" or key == "finalize"  # MONAI's last step
        new = new or f"@{key}" in own or f"%{key}" in own
        if not (new or any(holds(base, path) for base in bases)):
            return False
    return True


def holds(config, path):
    for part in path:
        if isinstance(config, list):
            config = config[int(part)]
        elif part in config:
            config = config[part]
        elif "_target_" in config:
            taken = inspect.signature(pydoc.locate(config["_target_"])).parameters
            return part in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values())
        else:
            return False
    return True


def test_every_key_of_an_overlay_is_in_its_base_and_no_key_is_there_twice(bundle):
    configs = ROOT / bundle / "configs"
    files = {str(f): ConfigParser.load_config_file(str(f)) for f in configs.rglob("*.yaml")}
    bases = [files[str(f)] for f in map(configs.joinpath, BASES) if str(f) in files]
    for file, overlay in files.items():
        others = [base for base in bases if base is not overlay]
        assert Path(file).name in BASES[:3] or fits(overlay, *others), file


def test_a_key_that_is_not_in_the_base_and_one_that_is_there_twice_are_seen(tmp_path):
    base = ConfigParser.load_config_file(str(ROOT / "agmr_net" / "configs" / "train.yaml"))
    assert fits({"max_epochs": 1, "network_def::attention": {}}, base)
    assert not fits({"max_epoch": 1}, base)
    assert not fits({"network_def::attentoin": {}}, base)
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(ValueError, match="Duplicate key"):
        ConfigParser.load_config_file(str(tmp_path / "twice.yaml"))


def test_no_configuration_refers_to_another_file_or_to_the_metadata(bundle):
    for file in (ROOT / bundle / "configs").rglob("*.yaml"):
        assert not re.search(r"%[^'\" ]*\.(ya?ml|json)|@_meta_", file.read_text()), file


def test_it_is_verified(bundle, narrow, tmp_path, record_outcome):
    record_outcome(bundle, "verify")
    metadata = ROOT / bundle / "configs" / "metadata.json"
    schema = shutil.copy(SCHEMA, tmp_path)
    verify_metadata(meta_file=str(metadata), filepath=str(schema))
    sizes, shape = narrow(bundle)
    where = {"net_id": "network_def", "meta_file": str(metadata)}
    where["config_file"] = inference_files(bundle)
    verify_net_in_out(**where, device="cpu", **sizes, **{SPATIAL: list(shape[2:])})
    with torch.device("meta"):  # as published: full widths and size, without the arithmetic
        verify_net_in_out(**where, device="meta")


@pytest.mark.zoo
def test_torchscript_gives_equal_outputs(bundle, saved, export, tmp_path, record_outcome):
    record_outcome(bundle, "torchscript")
    network, _, image = saved
    card = (ROOT / bundle / "docs" / "README.md").read_text()
    traced = "uses `torch.jit.trace`" in card
    assert traced != ("uses `torch.jit.script`" in card)
    export(ckpt_export, tmp_path / "model.ts", use_trace=traced)
    exported = torch.jit.load(tmp_path / "model.ts")
    with torch.no_grad():  # float32 kernels, fused otherwise
        torch.testing.assert_close(exported(image), network(image), rtol=1e-4, atol=1e-5)


@pytest.mark.zoo
def test_onnx_gives_equal_outputs(bundle, saved, export, tmp_path, record_outcome):
    record_outcome(bundle, "onnx")
    network, _, image = saved
    export(onnx_export, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():  # float32 through a dozen layers in another order of summation
        torch.testing.assert_close(torch.from_numpy(found), network(image), rtol=1e-4, atol=1e-5)
