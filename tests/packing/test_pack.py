"""Packing: what comes out stands alone, and equal input gives equal bytes."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from safetensors.torch import load_file
from typer.testing import CliRunner

from stroke_nets import bundle_folders
from stroke_nets.cli import app
from stroke_nets.errors import DataError, UsageError
from stroke_nets.packing.archive import file_sha256, unpack
from stroke_nets.packing.pack import pack, standing_alone
from stroke_nets.packing.render import described

ROOT = bundle_folders.bundles_root()
SCHEMA = Path(__file__).parents[1] / "reference" / "monai" / "meta_schema_20240725.json"
pytestmark = pytest.mark.filterwarnings("default")  # MONAI warns about its own calls


def demo_network(bundle, definition="network_def"):
    """A bundle's demo network with random weights."""
    configs = ROOT / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / f"{name}.yaml") for name in ("inference", "demo")])
    torch.manual_seed(0)
    return parser.get_parsed_content(definition).eval()


EVERY_KIND = {"segnet", "mscsa_default", "mscsa_ensemble"}  # the others: make test-zoo


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if name in EVERY_KIND else pytest.mark.zoo)
        for name in bundle_folders.bundle_names()
    ],
)
def bundle(request):
    return request.param


@pytest.fixture(scope="module")
def packed(bundle, tmp_path_factory):
    """A bundle packed with its demo overlay and random weights; and the weights' files."""
    folder = tmp_path_factory.mktemp(bundle)
    ensemble = not (ROOT / bundle / "configs" / "train.yaml").is_file()
    members = ["plain_def", "plain_def", "res_def", "plain_def"] if ensemble else ["network_def"]
    files = [folder / f"{number}.pt" for number in range(len(members))]
    for file, member in zip(files, members, strict=True):
        torch.save(demo_network(bundle, member).state_dict(), file)
    return pack(bundle, folder / "dist", files, "demo"), files


def test_it_holds_what_the_zoo_wants(bundle, packed):
    folder = packed[0].folder
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    trained = (ROOT / bundle / "configs" / "train.yaml").is_file()
    workflows = ["inference", "evaluate"]
    workflows += ["train", "multi_gpu_train", "accelerate"] if trained else []
    assert found == {
        *(f"configs/{name}.json" for name in [*workflows, "metadata"]),
        *("configs/logging.conf", "docs/README.md", "LICENSE", "large_files.yml", "SHA256SUMS"),
        *("models/model.pt", "models/model.safetensors"),
        *(f"docs/{picture.name}" for picture in (ROOT / bundle / "docs").glob("*.[ps][nv]g")),
    }
    for file in folder.glob("configs/*.json"):
        assert "yaml" not in file.read_text().replace("PyYAML", "")
    monai.bundle.download_large_files(str(folder))  # they are there, and as listed


def test_its_card_links_to_nothing_that_it_does_not_hold(bundle, packed):
    folder = packed[0].folder / "docs"
    card = (folder / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", card) if not link.startswith("http")]
    assert [link for link in links if not (folder / link).exists()] == []
    assert "../" not in card
    assert card.count("bundles/README.md") == card.count("bundles/README.md` of the stroke-nets")


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("../../agmr_net/docs/README.md", "bundles/agmr_net/docs/README.md"),
        ("../../../docs/simulated_patients.md", "docs/simulated_patients.md"),
    ],
)
def test_a_link_out_of_the_bundle_becomes_a_path_in_the_repository(link, path):
    assert (
        standing_alone(f"see [it]({link}).") == f"see it (`{path}` of the stroke-nets repository)."
    )


def test_its_metadata_describe_it(packed, tmp_path):
    configs = packed[0].folder / "configs"
    metadata, inference = str(configs / "metadata.json"), str(configs / "inference.json")
    schema = shutil.copy(SCHEMA, tmp_path)
    monai.bundle.verify_metadata(meta_file=metadata, filepath=str(schema))
    with torch.device("meta"):
        monai.bundle.verify_net_in_out("network_def", metadata, inference, device="meta")


def test_monai_loads_it_from_the_zip(bundle, packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (archive, files), out = (packed[0].archive, packed[1]), tmp_path / "bundles"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(out)  # as MONAI and MONAI Label do
    name, trained = packed[0].folder.name, len(files) == 1
    kind = "train" if trained else "inference"
    network = monai.bundle.load(name, bundle_dir=out, workflow_type=kind, device="cpu")
    found = network.state_dict()
    for number, file in enumerate(files):
        prefix = "" if trained else f"networks.{number}."
        wanted = torch.load(file, weights_only=True)
        assert all(torch.equal(found[prefix + key], value) for key, value in wanted.items())
    assert load_file(out / name / "models" / "model.safetensors").keys() == found.keys()


@pytest.fixture(scope="module")
def narrow_unet(tmp_path_factory):
    """Weights of `unet` with its demo overlay."""
    path = tmp_path_factory.mktemp("weights") / "last.pt"
    torch.save({"network": demo_network("unet").state_dict(), "trainer": {}}, path)
    return path


def test_equal_input_gives_equal_bytes(narrow_unet, tmp_path):
    options = ["--weights", str(narrow_unet), "--overlay", "demo"]
    for name in ("a", "b"):
        done = CliRunner().invoke(app, ["pack", "unet", *options, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.exception
    first, second = (tmp_path / n / "unet_demo_v0.1.0.zip" for n in ("a", "b"))
    assert file_sha256(first) == file_sha256(second)
    assert f"sha256 {file_sha256(first)}" in done.output


def test_a_packed_bundle_trains_segments_and_is_evaluated(
    narrow_unet, simulated, tmp_path, monkeypatch
):
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")
    folder = unpack(pack("unet", tmp_path, [narrow_unet], "demo").archive, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    where = {"bundle_root": str(folder), "dataset_dir": str(simulated)}
    where |= {"output_dir": str(tmp_path / "run"), "size": 48}
    fast = {"cache_dir": str(simulated.parent / "cache"), "max_epochs": 1, "sampler": None}
    for name, kind, options in (
        ("inference", "infer", {"register": False}),  # thinned scans
        ("evaluate", None, {}),
        ("train", "train", fast),
    ):
        config = str(folder / "configs" / f"{name}.json")
        flow = ConfigWorkflow(config, workflow_type=kind, logging_file=False, **where, **options)
        flow.initialize()
        assert kind is None or flow.check_properties() == []
        flow.run()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["n_cases"] == 2
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def test_an_overlay_of_other_channels_is_described(bundle_config):
    parser = bundle_config("mscsa_default", "inference", "ablations/labels_msl")
    metadata = json.loads((ROOT / "mscsa_default/configs/metadata.json").read_text())
    pred = described(metadata, parser.get())["network_data_format"]["outputs"]["pred"]
    assert pred["num_channels"] == 5
    assert pred["channel_def"] == {"0": "background", "1": "stroke lesion"}


@pytest.fixture
def published(narrow_unet, tmp_path, monkeypatch):
    """A folder of bundles whose `unet` has published weights, and their list."""
    shutil.copytree(ROOT / "unet", tmp_path / "bundles" / "unet")
    models = tmp_path / "bundles" / "unet" / "models"
    models.mkdir()
    shutil.copy(narrow_unet, models / "demo.pt")
    entry = {"file": "demo.pt", "overlay": "demo", "sha256": file_sha256(narrow_unet)}
    entry |= {"trained_on": "nothing"}
    (models / "weights.json").write_text(json.dumps([entry]))
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path / "bundles"))
    return models


def test_published_weights_are_the_default(published, tmp_path):
    made = pack("unet", tmp_path / "dist")
    assert made.folder.name == "unet_demo"
    metadata = json.loads((made.folder / "configs" / "metadata.json").read_text())
    assert metadata["weights"]["file"] == "demo.pt"
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [96, 96]


def test_published_weights_that_are_not_as_listed_are_refused(published, tmp_path):
    with (published / "demo.pt").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DataError, match=r"demo\.pt: missing, or not what"):
        pack("unet", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no published weights.* give --weights"),
        ({"name": "unett"}, "did you mean unet?"),
        ({"weights": ["narrow"], "overlay": "demmo"}, "demmo: unet has none .*did you mean demo"),
        ({"weights": [Path("none.pt")]}, r"none\.pt: no such file"),
        ({"weights": ["narrow"] * 2, "overlay": "demo"}, "2 files for 1 networks"),
    ],
)
def test_what_cannot_be_packed_is_one_line(narrow_unet, tmp_path, options, message):
    options = {"name": "unet", "out": tmp_path / "dist"} | options
    if "narrow" in options.get("weights", []):
        options["weights"] = [narrow_unet] * len(options["weights"])
    with pytest.raises(UsageError, match=message):
        pack(**options)
    assert not (tmp_path / "dist").exists()


def test_weights_of_another_network_are_refused(narrow_unet, tmp_path):
    with pytest.raises(DataError, match="of another network"):
        pack("unet", tmp_path / "dist", [narrow_unet])


def test_nothing_is_overwritten(narrow_unet, tmp_path):
    (tmp_path / "unet_demo").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        pack("unet", tmp_path, [narrow_unet], "demo")


def test_the_list_is_what_sha256sum_reads(narrow_unet, tmp_path):
    folder = pack("unet", tmp_path, [narrow_unet], "demo").folder
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
