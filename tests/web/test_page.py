"""The built page in headless Chromium, beside `predict` (make test-web).

Screenshots go to the folder that STROKE_NETS_SCREENSHOTS names, to be looked at.
"""

import importlib.util
import json
import os
import shutil
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import stroke_nets
from stroke_nets.registration.template import template
from stroke_nets.registration.volume import Volume, resampled
from stroke_nets.scans.dicom_series import RAS
from stroke_nets.synthesis import Design, simulate_patient
from stroke_nets.web_server import page_folder, page_server
from tests.scans.dicom_files import write_series

BROWSER = shutil.which("chromium")
SCAN = Path(os.environ.get("STROKE_NETS_REAL_DATA", "/nowhere"), "arc", "sub-M2051", "anat")
SCAN /= "sub-M2051_T1w.nii.gz"
PATIENCE = 900_000  # ms until a page counts as hung
OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
OPTIONS += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

pytestmark = [
    pytest.mark.web,
    pytest.mark.filterwarnings("default"),  # MONAI warns about its own calls
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: apt-get install chromium"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="no playwright: make browser-env"
    ),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url():
    server = page_server(0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser, url):
    """The page, which fails the test if it complains or asks for what is not its own."""
    context = browser.new_context(service_workers="block", viewport={"width": 1366, "height": 900})
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = (url, "blob:", "data:")
    page.on("request", lambda asked: asked.url.startswith(own) or wrong.append(asked.url))
    page.goto(url)
    page.wait_for_selector("body[data-state=ready]")
    yield page
    context.close()
    assert not wrong


def require_accessible(page, name):
    """No violation of axe's rules, in light and dark, on a desktop and a phone."""
    from axe_playwright_python.sync_playwright import Axe

    size = page.viewport_size
    for scheme in ("light", "dark"):
        for screen, width in {"desktop": size["width"], "phone": 390}.items():
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size | {"width": width})
            if shots := os.environ.get("STROKE_NETS_SCREENSHOTS"):
                path = Path(shots, f"{name}_{screen}_{scheme}.png")
                page.screenshot(path=path, full_page=True)
            found = Axe().run(page).response["violations"]
            assert [(v["id"], v["nodes"]) for v in found] == [], (scheme, screen)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (scheme, screen)
    page.set_viewport_size(size)


def test_page_and_network_weigh_25_mb_at_most():
    assert sum(f.stat().st_size for f in page_folder().rglob("*") if f.is_file()) <= 26_214_400


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.nii", b"no scan" * 100, "This is no NIfTI file."),
        ("cut.nii.gz", b"\x1f\x8b\x08\x00 cut", "cannot be decompressed"),
    ],
)
def test_a_file_that_cannot_be_used_gets_a_sentence(page, name, content, sentence):
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.set_input_files("#file", file)
    page.wait_for_selector("body[data-state=refused]")
    assert sentence in page.inner_text("#refused")


def test_noise_gets_a_sentence(page, tmp_path):
    noise = np.random.default_rng(0).normal(100, 10, (48, 48, 48)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([4, 4, 4, 1])), tmp_path / "noise.nii.gz")
    page.set_input_files("#file", tmp_path / "noise.nii.gz")
    page.wait_for_selector("body[data-state=refused]")
    assert "T1-weighted scan of a whole head" in page.inner_text("#refused")


@pytest.fixture(scope="module")
def head():
    """A simulated head on the template's grid with a cavity of 50 ml."""
    voxels, _ = simulate_patient(2, 0, Design(bend=0))
    x, y, z = np.indices(voxels.shape)
    away = np.sqrt((x - 60) ** 2 + ((y - 110) / 1.3) ** 2 + (z - 95) ** 2)
    inside = 1 / (1 + np.exp(away - 20))
    fluid = 0.12 * np.percentile(voxels, 97)
    return (voxels * (1 - inside) + fluid * inside).astype(np.float32)


def wait_for_mask(page):
    page.wait_for_selector("body[data-state=found], body[data-state=refused]")
    assert not page.inner_text("#refused")


def masks(page, scan, folder):
    """The page's mask of a scan, and that of `predict`."""
    page.set_input_files("#file", scan)
    wait_for_mask(page)
    (listed,) = page_folder().rglob("weights.json")
    settings = json.loads(listed.read_text())
    assert float(page.input_value("#threshold")) == settings["threshold"]  # not the next step of it
    if shots := os.environ.get("STROKE_NETS_SCREENSHOTS"):
        page.screenshot(path=Path(shots, f"{scan.name.split('_')[0]}.png"))
    with page.expect_download() as saved:
        page.click("#save-mask")
    saved.value.save_as(folder / "mask.nii.gz")
    stroke_nets.predict(scan, folder / "out", device="cpu")
    files = (folder / "out").glob("sub-*/anat/*_mask.nii.gz")
    (file,) = (path for path in files if "_space-" not in path.name)
    return nib.load(folder / "mask.nii.gz"), nib.load(file)


def require_one_mask(found, wanted):
    np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-5)  # float32 in a header
    one, other = (np.asanyarray(mask.dataobj) > 0 for mask in (found, wanted))
    # measured: 0.9992 and 0.1 % at most
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.995
    assert one.sum() == pytest.approx(other.sum(), rel=0.005)


@pytest.mark.skipif(not SCAN.is_file(), reason="STROKE_NETS_REAL_DATA names no folder arc/")
def test_a_real_patient_has_the_mask_of_predict(page, tmp_path):
    require_one_mask(*masks(page, SCAN, tmp_path))


def test_a_simulated_patient_has_the_mask_of_predict(page, head, tmp_path):
    """Turned by so much that other poses are tried."""
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.8), (9, -4, 12))
    grid = nib.affines.from_matvec(np.diag([1.3, 1.2, 1.3]), (-120, -115, -120))
    there = np.linalg.inv(turn @ template().affine) @ grid
    moved = resampled(head, there, (185, 192, 185)).astype(np.int16)
    nib.save(nib.Nifti1Image(moved, grid), tmp_path / "sub-1_T1w.nii.gz")
    require_one_mask(*masks(page, tmp_path / "sub-1_T1w.nii.gz", tmp_path))


def test_a_scan_on_the_templates_grid_stays_where_it_is(page, head, tmp_path):
    scan = nib.Nifti1Image(head.astype(np.int16), template().affine)
    nib.save(scan, tmp_path / "sub-2_T1w.nii.gz")
    require_accessible(page, "ready")
    require_one_mask(*masks(page, tmp_path / "sub-2_T1w.nii.gz", tmp_path))
    require_accessible(page, "found")


def test_a_folder_of_dicom_files_has_the_volume_of_predict(page, head, tmp_path):
    low = Volume(head, template().affine).thinned(2)
    turn = np.diag([1.0, -1, 1, 1])
    turn[1, 3] = low.voxels.shape[1] - 1
    voxels = np.rint(low.voxels * 2).clip(0).astype(np.uint16)[:, ::-1]
    write_series(tmp_path / "study", voxels=voxels, lps=RAS @ low.affine @ turn)
    page.set_input_files("#folder", tmp_path / "study")
    wait_for_mask(page)
    with page.expect_download() as saved:
        page.click("#save-report")
    report = json.loads(saved.value.path().read_text())
    stroke_nets.predict(tmp_path / "study", tmp_path / "out", device="cpu")
    (file,) = (
        path for path in (tmp_path / "out").rglob("*_mask.nii.gz") if "_space-" not in path.name
    )
    mask = nib.load(file)
    ml = np.count_nonzero(mask.dataobj) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert report["volume_ml"] == pytest.approx(ml, rel=0.01)


def test_the_page_works_offline_and_isolated_after_the_first_visit(browser, url):
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.evaluate(
        "!!navigator.serviceWorker.controller || new Promise((done) => "
        "navigator.serviceWorker.addEventListener('controllerchange', () => done(true)))"
    )
    context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-state=ready]")
    assert page.evaluate("crossOriginIsolated")
    assert page.evaluate("fetch('network/network.onnx').then((answer) => answer.ok)")
    context.close()
