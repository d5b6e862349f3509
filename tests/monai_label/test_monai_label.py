"""MONAI Label serves every bundle: `make test-label`. Tiny networks, random weights, by REST."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from stroke_nets.bundle_folders import bundle_names, bundles_root

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".label-venv" / "bin" / "python"
BUNDLES = bundle_names()
TRAINED = [n for n in BUNDLES if (bundles_root() / n / "configs" / "train.yaml").is_file()]
SLICES = [
    n for n in TRAINED if "SliceDataset" in (bundles_root() / n / "configs/train.yaml").read_text()
]
RESNETS = ("pspnet", "deeplab_v3")
BACKGROUND = ("agmr_net", "mscsa_default")  # trained in a process of their own, as clients ask
BRIEF = {
    "register": False,
    "num_workers": 0,
    "val_interval": 1,
    "max_epochs": 7,
}  # MONAI Label asks for 1 epoch
PATCHES = BRIEF | {"widths": [4, 8, 8], "patch_size": [16, 32, 32], "flips": False}
PATCHES |= {"heads": 2, "res_heads": 2, "blocks": [1, 1, 1], "supervision": [2, 1]}
PATCHES |= {"train_batches": 2, "val_batches": 2, "spacing": [4.0, 4.0, 4.0]}  # resampled
TOKEN = "a-secret-of-the-tests"
PATIENCE = 1200  # seconds until a start or a training counts as hung; seconds are usual

pytestmark = [
    pytest.mark.label,
    pytest.mark.skipif(not PYTHON.is_file(), reason="needs .label-venv: make label-env"),
]


def tiny(bundle):
    """An overlay that makes a bundle's networks tiny."""
    if bundle not in SLICES:
        return PATCHES
    widths = [16, 16, 32, 32] if bundle in RESNETS else [4, 8, 8, 8, 16]
    return BRIEF | {"widths": widths, "size": 48, "batch_size": 8}


@pytest.fixture(scope="module")
def studies(simulated, tmp_path_factory):
    """Four patients as MONAI Label wants them; one is oblique and stored in another order."""
    folder = tmp_path_factory.mktemp("studies")
    final = folder / "labels" / "final"
    final.mkdir(parents=True)
    for scan in simulated.rglob("*_T1w.nii.gz"):
        mask = scan.with_name(scan.name.replace("T1w", "mask"))
        for source, target in ((scan, folder), (mask, final)):
            image = nib.load(source)
            if "sub-1" in scan.name:
                image = oblique(image)
            nib.save(image, target / scan.name)
    return folder


def oblique(image):
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.3)) @ image.affine
    flipped = nib.Nifti1Image(np.asarray(image.dataobj), turned)
    return flipped.as_reoriented([[0, -1], [2, 1], [1, 1]])


@pytest.fixture(scope="module")
def server(studies, tmp_path_factory):
    """The command as a user starts it, with every bundle; its URL and its app folder."""
    folder = tmp_path_factory.mktemp("label")
    shutil.copytree(bundles_root(), folder / "bundles")
    for name in BUNDLES:
        overlay = folder / "bundles" / name / "configs" / "tiny.yaml"
        overlay.write_text(yaml.safe_dump(tiny(name)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "stroke_nets", "label", "--studies", str(studies)]
    command += ["--bundles", ",".join(BUNDLES), "--random-weights", "--overlay", "tiny"]
    command += ["--app", str(folder / "app"), "--port", str(port), "--python", str(PYTHON)]
    url = f"http://127.0.0.1:{port}/{TOKEN}"
    with running(command, folder) as log:
        wait_for(url + "/info/", log)
        yield url, folder / "app"


@contextmanager
def running(command, folder):
    """A process that finds no network, ended by its id."""
    nowhere = "http://127.0.0.1:9"
    environment = os.environ | {"http_proxy": nowhere, "https_proxy": nowhere}
    environment |= {"STROKE_NETS_LABEL_TOKEN": TOKEN}
    environment |= {"STROKE_NETS_BUNDLES": str(folder / "bundles"), "no_proxy": "127.0.0.1"}
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder)
        try:
            yield lambda: (process.poll(), log.read_text()[-3000:])
        finally:
            process.kill()  # a training in it has taken SIGTERM over
            process.wait()


def wait_for(url, log):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask(url)
        except URLError:
            code, text = log()
            assert code is None, text
            assert time.monotonic() < end, text
            time.sleep(1)


def ask(url, body=None, method=None, **headers):
    """The answer, of which the body is kept in `content`; JSON goes out as a POST."""
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as answer:
        answer.content = answer.read()
        return answer


def info(url):
    return json.loads(ask(url + "/info/").content)


def infer(url, bundle, image, path):
    answer = ask(f"{url}/infer/{bundle}?image={image}&output=image", method="POST")
    path.write_bytes(answer.content)
    return nib.load(path)


def test_every_bundle_is_served_with_its_label(server):
    models = info(server[0])["models"]
    assert sorted(models) == BUNDLES
    assert all(model["labels"] == {"stroke lesion": 1} for model in models.values())


@pytest.mark.parametrize("bundle", BUNDLES)
def test_mask_lies_on_the_scans_own_grid(bundle, server, studies, tmp_path, record_outcome):
    record_outcome(bundle, "label_infer")
    scan = nib.load(studies / "sub-1_T1w.nii.gz")
    mask = infer(server[0], bundle, "sub-1_T1w", tmp_path / "mask.nii.gz")
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)  # float32 headers, up to 200 mm
    assert set(np.unique(mask.dataobj)) <= {0, 1}


def test_pages_of_other_sites_are_refused(server):
    own = ask(server[0] + "/info/", Origin=server[0].removesuffix(f"/{TOKEN}"))
    assert "access-control-allow-origin" not in own.headers
    for headers, code in (({"Origin": "http://other.org"}, 403), ({"Host": "other.org"}, 400)):
        with pytest.raises(HTTPError) as refused:
            ask(server[0] + "/info/", **headers)
        refused.value.close()  # it holds the connection
        assert refused.value.code == code


def refused(url, body=None, method=None, **headers):
    """Status and text of an answer that is an error."""
    with pytest.raises(HTTPError) as error:
        ask(url, body, method, **headers)
    with error.value:
        return error.value.code, error.value.read().decode()


def form(**files):
    """A form with files, each a name and content or a text: its bytes and headers."""
    lines = []
    for key, value in files.items():
        name, content = value if isinstance(value, tuple) else (None, value.encode())
        ending = f'; filename="{name}"' if name else ""
        lines.append(f'--limit\r\nContent-Disposition: form-data; name="{key}"{ending}'.encode())
        lines.append(b"\r\n\r\n" + content + b"\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=limit"}
    return b"".join([*lines, b"--limit--\r\n"]), kind


def put(url, **files):
    body, headers = form(**files)
    return refused(url, body, "PUT", **headers)


def contents(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_label_server_asks_for_the_token(server):
    bare = server[0].removesuffix(f"/{TOKEN}")
    for url, headers in [
        (f"{bare}/info/", {}),
        (f"{bare}/{TOKEN[:-1]}/info/", {}),
        (f"{bare}/x{TOKEN}/info/", {}),
        (f"{bare}/info/?token={TOKEN}", {}),
        (f"{bare}/{TOKEN}", {}),
        (f"{bare}/info/", {"Authorization": "Bearer no"}),
        (f"{bare}/info/", {"Cookie": "stroke_nets_label=no"}),
    ]:
        code, text = refused(url, **headers)
        assert (code, "stroke-nets label" in text) == (401, True)
    assert ask(f"{bare}/info/", Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(f"{bare}/info/", Cookie=f"stroke_nets_label={TOKEN}").status == 200
    assert TOKEN not in (server[1] / "logs" / "app.log").read_text()


def test_label_server_writes_only_scans_and_masks_into_the_studies(server, studies, tmp_path):
    url, app = server
    scan = (studies / "sub-1_T1w.nii.gz").read_bytes()
    before = contents(studies), contents(app / "stroke_nets"), set(os.listdir(app))
    for query, name in [
        ("?image=new", "new.py"),
        ("?image=../app/stroke_nets/new", "new.nii.gz"),
        (f"?image={app}/stroke_nets/new", "new.nii.gz"),
        ("?image=sub-1_T1w", "new.nii.gz"),
        ("", "../../app/main.py"),
        ("?image=a&image=b", "new.nii.gz"),
    ]:
        assert put(f"{url}/datastore/image{query}", file=(name, scan))[0] in (400, 409)
        assert put(f"{url}/datastore/{query}", file=(name, scan))[0] in (400, 409)
    label = f"{url}/datastore/label?image=sub-1_T1w"
    assert put(label, label=("mask.py", scan))[0] == 400
    assert put(f"{label}&tag=../../app", label=("mask.nii.gz", scan))[0] == 400
    assert put(f"{url}/session/", files=("new.py", scan))[0] == 404
    assert put(f"{url}/model/unet", file=("model.pt", scan))[0] == 404
    assert refused(f"{url}/datastore/image?id=sub-1_T1w", method="DELETE")[0] == 404
    assert refused(f"{url}/docs")[0] == refused(url + "/")[0] == 404
    after = contents(studies), contents(app / "stroke_nets"), set(os.listdir(app))
    assert before == after


def test_label_server_segments_only_scans_of_the_studies(server, studies, tmp_path):
    outside = shutil.copy(studies / "sub-1_T1w.nii.gz", tmp_path)
    url = f"{server[0]}/infer/unet"
    code, text = refused(f"{url}?image={outside}&output=image", method="POST")
    assert (code, "no scan of that name here" in text) == (404, True)
    assert refused(f"{url}?image=../a&output=image", method="POST")[0] == 404
    for params in ({"image": outside}, {"model_filename": "../a.pt"}, {"result_extension": ".py"}):
        body, headers = form(params=json.dumps(params))
        assert refused(f"{url}?image=sub-1_T1w", body, "POST", **headers)[0] == 400
    body, headers = form(file=("a.nii.gz", Path(outside).read_bytes()))
    assert refused(f"{url}?image=sub-1_T1w", body, "POST", **headers)[0] == 400


def test_label_server_says_what_is_wrong(server, studies, tmp_path):
    (studies / "damaged.nii.gz").write_bytes(b"no scan")
    code, text = refused(f"{server[0]}/infer/unet?image=damaged&output=image", method="POST")
    (studies / "damaged.nii.gz").unlink()
    assert code in (404, 422)
    assert "damaged" in text
    code, text = refused(f"{server[0]}/infer/nothing?image=sub-1_T1w&output=image", method="POST")
    assert (code, "There is no model 'nothing'" in text) == (400, True)


def test_label_server_refuses_masks_of_another_grid(server, studies, tmp_path):
    final = studies / "labels" / "final" / "sub-2_T1w.nii.gz"
    before = final.read_bytes()
    mask = nib.load(final)
    label = f"{server[0]}/datastore/label?image=sub-2_T1w"
    others = {
        "shape": mask.slicer[:-1],
        "place": nib.Nifti1Image(
            np.asarray(mask.dataobj), nib.affines.from_matvec(np.eye(3), [0, 0, 40]) @ mask.affine
        ),
    }
    for name, other in others.items():
        nib.save(other, tmp_path / f"{name}.nii.gz")
        content = (tmp_path / f"{name}.nii.gz").read_bytes()
        code, text = put(label, label=(f"/tmp/{name}.nii.gz", content))
        assert (code, f"{name}.nii.gz" in text) == (422, True), text
    assert put(label, label=("mask.nii.gz", b"no mask"))[0] == 422
    assert final.read_bytes() == before
    body, headers = form(label=("/tmp/mask.nii.gz", before), params="{}")
    assert ask(label, body, "PUT", **headers).status == 200
    assert final.read_bytes() == before


def test_a_scan_that_is_sent_is_served(server, studies, tmp_path):
    scan = (studies / "sub-2_T1w.nii.gz").read_bytes()
    body, headers = form(file=("/tmp/slicer/new.nii.gz", scan), params="{}")
    assert ask(f"{server[0]}/datastore/?image=sent", body, "PUT", **headers).status == 200
    assert (studies / "sent.nii.gz").read_bytes() == scan
    assert infer(server[0], "unet", "sent", tmp_path / "mask.nii.gz").shape
    (studies / "sent.nii.gz").unlink()


@pytest.mark.parametrize("bundle", [n for n in BUNDLES if n not in TRAINED])
def test_bundle_without_a_training_offers_none(bundle, server, record_outcome):
    record_outcome(bundle, "label_train", "no training of its own: train its members")
    assert bundle not in info(server[0])["trainers"]


def wait_for_the_training(url):
    end = time.monotonic() + PATIENCE
    while (task := json.loads(ask(f"{url}/train/").content))["status"] in ("SUBMITTED", "RUNNING"):
        assert time.monotonic() < end, task["details"][-20:]
        time.sleep(1)
    assert task["status"] == "DONE", task["details"][-20:]


@pytest.mark.parametrize("bundle", TRAINED)
def test_training_replaces_the_weights(bundle, server, record_outcome):
    record_outcome(bundle, "label_train")
    url, app = server
    request = {"max_epochs": 1, "val_split": 0.25, "device": "cpu"}
    if bundle in BACKGROUND:
        ask(f"{url}/train/{bundle}", request)
        wait_for_the_training(url)
    else:
        ask(f"{url}/train/{bundle}?run_sync=true", request)
    progress = next(iter(info(url)["train_stats"].values()))  # which Slicer shows
    assert (progress["epoch"], progress["total_epochs"]) == (1, 1)
    assert progress["total_time"]
    models = app / "model" / bundle / "models"
    trained, first = (
        torch.load(models / name, weights_only=True) for name in ("model.pt", "published.pt")
    )
    assert trained.keys() == first.keys()
    assert any(not torch.equal(trained[name], first[name]) for name in first)


def test_a_trained_network_is_the_one_that_infers(server, tmp_path):
    infer(server[0], TRAINED[0], "sub-2_T1w", tmp_path / "mask.nii.gz")
    log = (server[1].parent / "server.log").read_text()
    assert "Checkpoint keys don't match" not in log
