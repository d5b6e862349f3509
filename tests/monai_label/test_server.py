"""What `stroke-nets label` prepares and refuses; the server itself: test_monai_label.py."""

import json
import os
import shutil
import socket
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import bundles_root, find_bundle
from stroke_nets.cli import app
from stroke_nets.errors import DataError, UsageError
from stroke_nets.monai_label import server
from stroke_nets.monai_label.bundle_copy import ServedWeights, rendered, write_weights
from stroke_nets.monai_label.server import SAMPLE_APP, find_python, in_url


@pytest.fixture
def environment(tmp_path):
    """As `make label-env` leaves it, without MONAI Label's own code."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    (tmp_path / "venv" / SAMPLE_APP).mkdir(parents=True)
    (tmp_path / "venv" / SAMPLE_APP / "main.py").write_text("# the sample app\n")
    return tmp_path / "venv" / "bin" / "python"


@pytest.fixture
def label(environment, simulated, tmp_path, monkeypatch):
    """Run the command; returns what it would become: program, arguments and environment."""
    became = []
    monkeypatch.setattr(os, "execve", lambda *what: became.append(what))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    monkeypatch.setenv("STROKE_NETS_LABEL_TOKEN", TOKEN)
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(next(simulated.rglob("*_T1w.nii.gz")), studies)

    def run(*options):
        options = {"--studies": studies, "--app": tmp_path / "app", "--port": free_port()} | dict(
            options
        )
        words = [str(word) for pair in options.items() for word in pair if word is not None]
        app(["label", "--python", str(environment), *words], standalone_mode=False)
        return became[-1]

    return run


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


TOKEN = "a-secret-of-the-tests"
RANDOM = (("--random-weights", None), ("--overlay", "demo"))


def test_server_is_started_with_safe_settings(label, tmp_path, capsys):
    program, arguments, environment = label(("--bundles", "unet"), ("--port", 8765), *RANDOM)
    assert program == Path(arguments[0])
    words = " ".join(arguments)
    assert "--host 127.0.0.1 --port 8765" in words
    assert "--conf models unet --conf zoo_source local --conf sam2 false" in words
    assert "--uvicorn_app stroke_nets.monai_label.application:app" in words
    assert environment["STROKE_NETS_LABEL_HOSTS"] == "127.0.0.1,localhost,127.0.0.1"
    assert json.loads(environment["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"]) == {"Modality": "MR"}
    folder = tmp_path / "app"
    assert environment["PYTHONPATH"] == str(folder)
    assert {"main.py", "stroke_nets", "torchvision", "model", "work"} == set(os.listdir(folder))
    assert f"http://127.0.0.1:8765/{TOKEN}\n" in capsys.readouterr().out
    assert environment["STROKE_NETS_LABEL_TOKEN"] == TOKEN
    assert TOKEN not in words
    assert environment["MONAI_LABEL_SESSIONS"] == "false"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_token_is_made_where_none_is_given(label, monkeypatch):
    monkeypatch.delenv("STROKE_NETS_LABEL_TOKEN")
    label(("--bundles", "unet"), *RANDOM)
    first, second = (label(("--bundles", "unet"))[2]["STROKE_NETS_LABEL_TOKEN"] for _ in range(2))
    assert first != second
    assert len(first) > 20
    monkeypatch.setenv("STROKE_NETS_LABEL_TOKEN", "short")
    with pytest.raises(UsageError, match="STROKE_NETS_LABEL_TOKEN: give at least 16"):
        label(("--bundles", "unet"))


@pytest.mark.parametrize("app", ["studies", "studies/app", "."])
def test_an_app_folder_that_clients_can_write_into_is_refused(label, tmp_path, app):
    with pytest.raises(UsageError, match="clients write into the studies"):
        label(("--bundles", "unet"), ("--app", tmp_path / app), *RANDOM)


def test_bundle_copy_stands_alone_and_holds_the_weights(label, tmp_path):
    label(("--bundles", "unet"), *RANDOM)
    copy = tmp_path / "app" / "model" / "unet"
    state, first = (
        torch.load(copy / "models" / name, weights_only=True)
        for name in ("model.pt", "published.pt")
    )
    assert state.keys() == first.keys()
    for task in ("inference", "train"):
        parser = ConfigParser(json.loads((copy / "configs" / f"{task}.json").read_text()))
        parser["bundle_root"] = str(copy)
        network = parser.get_parsed_content("network_def")
        network.load_state_dict(state)
    assert parser.get_parsed_content("output_dir") == f"{copy}/runs"
    assert parser.get_parsed_content("max_epochs") == 8  # of the overlay; MONAI Label sets it
    metadata = json.loads((copy / "configs" / "metadata.json").read_text())
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {"0": "background", "1": "stroke lesion"}


def test_ensemble_has_its_members_weights(label, tmp_path):
    label(("--bundles", "mscsa_ensemble"), *RANDOM)
    copy = tmp_path / "app" / "model" / "mscsa_ensemble"
    parser = ConfigParser(json.loads((copy / "configs" / "inference.json").read_text()))
    parser["bundle_root"] = str(copy)
    members = parser.get_parsed_content("network_def").members
    made = [make() for make in members]
    assert len(made) == len(list((copy / "models" / "members").glob("*.pt"))) == 4
    assert not (copy / "configs" / "train.json").exists()


def test_bundles_that_are_there_are_left_as_they_are(label, tmp_path):
    label(("--bundles", "unet"), *RANDOM)
    trained = tmp_path / "app" / "model" / "unet" / "models" / "model.pt"
    trained.write_bytes(b"trained by MONAI Label")
    label(("--bundles", "unet"))
    assert trained.read_bytes() == b"trained by MONAI Label"
    with pytest.raises(UsageError, match="holds unet with its weights"):
        label(("--bundles", "unet"), *RANDOM)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Bundles of which only one comes with weights."""
    root = shutil.copytree(bundles_root(), tmp_path / "bundles")
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(root))
    file = root / "unet" / "models" / "demo.pt"
    write_weights(root / "unet", ServedWeights("demo"), file)
    entry = {"file": "demo.pt", "overlay": "demo", "sha256": sha256(file.read_bytes()).hexdigest()}
    entry |= {"trained_on": "nothing"}
    (file.parent / "weights.json").write_text(json.dumps([entry]))
    return file


def test_published_weights_are_the_default(published, label, tmp_path):
    arguments = label()[1]
    models = "mscsa_default,agmr_net,unet"  # the first two ship some; best first
    assert f"--conf models {models} --conf" in " ".join(arguments)
    copy = tmp_path / "app" / "model" / "unet"
    assert rendered(find_bundle("unet"), "inference.yaml", "demo")["size"] == 96
    assert json.loads((copy / "configs" / "inference.json").read_text())["size"] == 96
    state = torch.load(copy / "models" / "model.pt", weights_only=True)
    for name, value in torch.load(published, weights_only=True).items():
        assert torch.equal(state[name], value)


def test_changed_published_weights_are_refused(published, label):
    state = torch.load(published, weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, published)
    with pytest.raises(DataError, match=r"demo\.pt: missing, or not what"):
        label()


def test_own_weights(label, tmp_path):
    file = tmp_path / "own.pt"
    write_weights(find_bundle("unet"), ServedWeights("demo"), file)
    label(("--weights", f"unet={file}"), ("--overlay", "demo"))
    assert (tmp_path / "app" / "model" / "unet" / "models" / "model.pt").is_file()


def test_weights_of_another_network_are_refused(label, tmp_path):
    file = tmp_path / "own.pt"
    write_weights(find_bundle("segnet"), ServedWeights("demo"), file)
    with pytest.raises(UsageError, match=r"own\.pt: of another network"):
        label(("--weights", f"unet={file}"), ("--overlay", "demo"))
    assert os.listdir(tmp_path / "app" / "model") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([("--bundles", "unett"), *RANDOM], r"bundle unett: .*did you mean unet\?"),
        (
            [("--bundles", "x_net"), ("--overlay", "demo")],
            "x_net: no published weights",
        ),
        ([("--weights", "unett=f.pt")], r"did you mean unet\?"),
        ([("--weights", "f.pt")], "give METHOD=FILE"),
        ([("--weights", "unet=none.pt")], r"checkpoint none\.pt: no such file"),
        ([("--bundles", "unet"), ("--overlay", "dmo"), RANDOM[0]], r"did you mean demo\?"),
        ([("--bundles", "unet"), ("--studies", "none")], "--studies none: no such folder"),
        ([("--host", "0.0.0.0")], "requests are not encrypted"),
        ([("--host", "example.org")], "requests are not encrypted"),
        ([("--python", "none/bin/python")], "run 'make label-env'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(label, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as raised:
        label(*options)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_weights_that_no_bundle_takes_are_refused(label, tmp_path):
    with pytest.raises(UsageError, match="--weights x_net: no bundle of unet takes them"):
        label(("--bundles", "unet"), ("--weights", "x_net=f.pt"), *RANDOM)


def test_taken_port_is_refused(label):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"--port \d+ on 127.0.0.1: .*give another"):
            label(("--port", taken.getsockname()[1]))


def test_an_IPv6_host_stands_in_brackets():
    assert [in_url(host) for host in ("::1", "127.0.0.1")] == ["[::1]", "127.0.0.1"]


def test_studies_without_scans_are_refused(label, simulated, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="finds no scan there; put or link"):
        label(("--studies", tmp_path / "empty"))
    with pytest.raises(UsageError, match=r"does not look into .*anat"):
        label(("--studies", simulated))


def test_public_address_is_warned_of(label, capsys):
    label(("--bundles", "unet"), ("--host", "0.0.0.0"), ("--public", None), *RANDOM)
    assert "are not encrypted" in capsys.readouterr().err


def test_X4_an_app_folder_from_elsewhere_is_refused(label, tmp_path):
    """The server would run it: modules beside its own, and configurations."""
    label(("--bundles", "unet"), *RANDOM)
    app = tmp_path / "app"
    copy = app / "model" / "unet"
    config = copy / "configs" / "inference.json"
    own = config.read_text()
    label(("--bundles", "unet"))
    (app / "lib").mkdir(exist_ok=True)
    for name in ("lib/more.py", "stroke_nets/__pycache__/more.pyc"):
        (app / name).parent.mkdir(exist_ok=True)
        (app / name).write_text("")
        label(("--bundles", "unet"))  # written anew
        assert not (app / name).exists()
    for name in ("more.py", "more/__init__.py", "model/unet/scripts/more.py"):
        (app / name).parent.mkdir(exist_ok=True)
        (app / name).write_text("")
        with pytest.raises(UsageError, match=r"--app.* give another --app"):
            label(("--bundles", "unet"))
        (app / name).unlink()
    config.write_text(json.dumps(json.loads(own) | {"other": "$time.time()"}))
    with pytest.raises(UsageError, match="configs is not from this version"):
        label(("--bundles", "unet"))
    config.write_text(own)
    label(("--bundles", "unet"))


def test_the_environment_is_not_that_of_the_current_folder(environment, tmp_path, monkeypatch):
    (tmp_path / ".label-venv").symlink_to(environment.parents[1])
    monkeypatch.chdir(tmp_path)
    assert server.ENVIRONMENT.is_relative_to(Path(server.__file__).parents[2])
    monkeypatch.setattr(server, "ENVIRONMENT", tmp_path / "clone" / server.ENVIRONMENT.name)
    with pytest.raises(UsageError, match="run 'make label-env'"):
        find_python()
    assert find_python(environment) == environment
