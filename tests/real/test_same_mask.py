"""A real patient has one mask, whichever tool writes it and however the scan is stored."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import nibabel as nib
import numpy as np
import pytest

import stroke_nets
from stroke_nets.bundle_folders import find_bundle, published_weights
from stroke_nets.packing.archive import unpack
from stroke_nets.packing.pack import pack

ROOT = Path(__file__).parents[2]
LABEL = ROOT / ".label-venv" / "bin" / "python"
SCAN = Path(os.environ.get("STROKE_NETS_REAL_DATA", "/nowhere"), "arc", "sub-M2051", "anat")
SCAN /= "sub-M2051_T1w.nii.gz"
METHOD = "mscsa_default"
PLAIN = {"backend": "torch", "precision": "float32"}
TOKEN = "a-token-of-this-test"
PATIENCE = 600  # seconds until a server counts as hung

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),  # MONAI warns about its own calls
    pytest.mark.skipif(not SCAN.is_file(), reason="STROKE_NETS_REAL_DATA names no folder arc/"),
]


def voxels(path):
    """A mask with its axes about right, anterior, superior."""
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj) > 0


def predicted(scan, out):
    stroke_nets.predict(scan, out, method=METHOD, device="cpu", **PLAIN)
    files = out.glob("sub-*/anat/*_mask.nii.gz")
    (file,) = (path for path in files if "_space-" not in path.name)
    return voxels(file)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    return predicted(SCAN, tmp_path_factory.mktemp("predict"))


@pytest.fixture
def study(tmp_path):
    """A folder with the scan alone."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / SCAN.name).symlink_to(SCAN)
    return folder


def run_bundle(root, files, study, out, **options):
    """``monai.bundle run inference``; the mask."""
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--bundle_root", root]
    command += ["--config_file", str([str(file) for file in files]), "--dataset_dir", study]
    options = PLAIN | {"device": "cpu", "output_dir": out} | options
    for name, value in options.items():
        command += [f"--{name}", value]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=study.parent)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (file,) = (out / "predictions").glob("*_pred.nii.gz")
    return voxels(file)


def test_the_bundle_and_the_packed_bundle_write_the_mask_of_predict(mask, study, tmp_path):
    bundle = find_bundle(METHOD)
    weights, default = published_weights(bundle, None, "--checkpoint FILE")
    files = [bundle / "configs" / f"{name}.yaml" for name in ("inference", default["overlay"])]
    np.testing.assert_array_equal(
        run_bundle(bundle, files, study, tmp_path / "raw", checkpoint=weights), mask
    )
    packed = unpack(pack(METHOD, tmp_path / "dist").archive, tmp_path / "packed")
    files = [packed / "configs" / "inference.json"]
    np.testing.assert_array_equal(run_bundle(packed, files, study, tmp_path / "run"), mask)


@pytest.mark.skipif(not LABEL.is_file(), reason="needs .label-venv: make label-env")
def test_monai_label_writes_the_mask_of_predict(mask, study, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "stroke_nets", "label", "--studies", study]
    command += ["--bundles", METHOD, "--app", tmp_path / "app", "--port", port, "--python", LABEL]
    log = tmp_path / "log"
    with log.open("w") as out:
        given = os.environ | {"STROKE_NETS_LABEL_TOKEN": TOKEN}
        server = subprocess.Popen(
            list(map(str, command)), stdout=out, stderr=out, cwd=tmp_path, env=given
        )
    try:
        url = f"http://127.0.0.1:{port}/{TOKEN}/infer/{METHOD}?image=sub-M2051_T1w&output=image"
        (tmp_path / "mask.nii.gz").write_bytes(answer(url, server, log))
    finally:
        server.kill()
        server.wait()
    np.testing.assert_array_equal(voxels(tmp_path / "mask.nii.gz"), mask)


def answer(url, server, log):
    """What a POST to the server brings, as soon as it is up."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return opener.open(urllib.request.Request(url, method="POST")).read()
        except URLError as error:
            waits = not hasattr(error, "code") and server.poll() is None
            assert waits, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("z-scored", lambda image: valued(image, lambda v: (v - v.mean()) / v.std())),
        ("smaller", lambda image: valued(image, lambda v: (v - 1000) * 0.001)),
        ("LIA", lambda image: reordered(image, "LIA")),
    ],
)
def test_unit_and_axis_order_leave_the_mask_as_it_is(name, change, mask, tmp_path):
    path = tmp_path / "sub-1_T1w.nii.gz"
    nib.save(change(nib.load(SCAN)), path)
    assert dice(predicted(path, tmp_path / "out"), mask) >= 0.999


def valued(image, function):
    return nib.Nifti1Image(function(image.get_fdata()).astype(np.float32), image.affine)


def reordered(image, axes):
    start, end = nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    return image.as_reoriented(nib.orientations.ornt_transform(start, end))
