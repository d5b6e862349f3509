"""The pages of a prediction in headless Chromium, from file://, as a user opens them.

Screenshots go to the folder that STROKE_NETS_SCREENSHOTS names, to be looked at.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from stroke_nets.pages.cohort import read_ratings, write_index
from stroke_nets.pages.prediction_report import write_prediction_report
from stroke_nets.pages.run_report import write_report

from ..pages import predictions, runs

BROWSER = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: apt-get install chromium"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None,
        reason="no playwright: make browser-env",
    ),
]
SCREENS = {"laptop": (1366, 768), "phone": (400, 800)}
OPTIONS = [
    *("--no-sandbox", "--disable-gpu"),  # as root, and without a display
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder of two cases, the first with a truth, and beside it a run that was trained."""
    root = tmp_path_factory.mktemp("pages")
    out, cases = predictions.write_folder(root)
    for scan, sidecar in cases.items():
        truth = sidecar.with_name(sidecar.name.replace(".json", ".nii.gz"))
        write_prediction_report(sidecar, scan, truth if "sub-1" in scan.name else None)
    write_index(out)
    runs.write_log(root / "run", epochs=3)
    write_report(root / "run")
    return out


@pytest.fixture(scope="module")
def pages(out):
    """Every kind of page."""
    return [*sorted(out.rglob("*.html")), out.parent / "run" / "report.html"]


@pytest.fixture
def page(browser):
    """A page that fails the test if it complains or asks for anything but files."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("file:") or wrong.append(asked.url))
    yield page
    page.close()
    assert not wrong


@pytest.fixture
def viewer(page, out):
    page.set_viewport_size({"width": 1366, "height": 768})
    page.goto((out / "sub-1/anat/sub-1_desc-unet_viewer.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    return page


def pixels(page, plane):
    """What a plane's canvas shows, (rows, columns, RGBA)."""
    found = page.evaluate(
        """name => {
            const canvas = document.getElementById(name);
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const all = copy.getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(all.data)];
        }""",
        plane,
    )
    return np.array(found[2]).reshape(found[0], found[1], 4)


def until(page, condition):
    """Wait in the page; Playwright's own ``wait_for_function`` needs what the policy forbids."""
    assert page.evaluate(
        f"new Promise(done => {{ let frames = 600; const look = () => {condition} ? done(true) :"
        " frames-- ? requestAnimationFrame(look) : done(false); look(); })"
    ), condition


def orange(page, plane):
    """Where a plane shows the outline's full colour."""
    return (pixels(page, plane)[..., :3] == (255, 127, 14)).all(axis=-1)


def test_index_leads_to_every_page_and_back(page, out):
    page.goto((out / "index.html").as_uri())
    for case in ("sub-1", "sub-2"):
        page.get_by_role("link", name=f"report of {case}").click()
        assert page.title() == f"Lesions of {case}, unet"
        page.get_by_role("link", name="three planes").click()
        page.wait_for_selector("body[data-ready]")
        assert page.title() == f"Viewer: {case}, unet"
        page.get_by_role("link", name="report").click()
        page.get_by_role("link", name="All cases").click()
        assert page.title() == "Predictions"


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_screen(page, pages, screen):
    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    for path in pages:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_serious_problem(page, pages, screen, scheme):
    from axe_playwright_python.sync_playwright import Axe

    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    for path in pages:
        page.goto(path.as_uri())
        if path.name.endswith("viewer.html"):
            page.wait_for_selector("body[data-ready]")
        if folder := os.environ.get("STROKE_NETS_SCREENSHOTS"):
            name = f"{path.stem}_{screen}_{scheme}.png"
            page.screenshot(path=Path(folder) / name, full_page=True)
        found = Axe().run(page).response["violations"]
        serious = [(v["id"], v["nodes"]) for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, path


def test_pages_print_on_a4(page, pages, tmp_path):
    """An A4 sheet less its margins is 182 mm wide, at 96 dots an inch 688 pixels."""
    page.set_viewport_size({"width": 688, "height": 980})
    page.emulate_media(media="print")
    for path in pages:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 688, path
        for table in page.locator("table:visible").all():
            assert table.bounding_box()["width"] <= 688, path


def test_printed_viewer_is_three_planes_and_the_place(viewer):
    viewer.set_viewport_size({"width": 688, "height": 980})
    viewer.emulate_media(media="print")
    assert viewer.locator("input:visible, select:visible, button:visible").count() == 0
    assert viewer.locator("#here").is_visible()
    boxes = [canvas.bounding_box() for canvas in viewer.locator("canvas").all()]
    ends = [box["y"] + box["height"] for box in boxes]
    np.testing.assert_allclose(ends, ends[0], atol=1)  # in a row


def test_limits_of_the_weights_are_seen_without_scrolling(page, out):
    page.set_viewport_size({"width": 1366, "height": 768})
    page.goto((out / "sub-1/anat/sub-1_desc-unet_report.html").as_uri())
    limits = page.get_by_role("region", name="Before you use this mask").bounding_box()
    assert limits["y"] + limits["height"] <= 768
    picture = page.locator("img").first.bounding_box()
    assert picture["x"] + picture["width"] <= limits["x"]


def test_viewer_shows_the_mask_in_its_place(viewer):
    """The lesion lies at x 14 to 20 (of 24, RAS), y 8 to 14 (of 30): right of the patient, back."""
    viewer.get_by_label("Truth").uncheck()  # it covers the outline
    rows, columns = np.nonzero(orange(viewer, "axial"))
    assert (columns.min(), columns.max()) == (23 - 19, 23 - 15)
    assert (rows.min(), rows.max()) == (29 - 13, 29 - 8)
    rows, columns = np.nonzero(orange(viewer, "sagittal"))
    assert (columns.min(), columns.max()) == (29 - 13, 29 - 8)
    assert (rows.min(), rows.max()) == (19 - 10, 19 - 6)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_keyboard_moves_through_slices(viewer, plane):
    slider = viewer.get_by_role("slider", name=f"{plane.capitalize()} slice")
    before, place = pixels(viewer, plane), int(slider.input_value())
    slider.focus()
    viewer.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == place + 1
    assert slider.get_attribute("aria-valuetext") == f"slice {place + 1}"
    assert f"{place + 1} of 0 to" in viewer.locator(f"#{plane}-label").inner_text()
    assert not np.array_equal(pixels(viewer, plane), before)
    viewer.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(pixels(viewer, plane), before)
    viewer.keyboard.press("End")
    assert not orange(viewer, plane).any()


def test_tab_reaches_every_control(viewer):
    reached = []
    for _ in range(15):
        viewer.keyboard.press("Tab")
        reached.append(
            viewer.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    assert reached == [
        *["overlay", "opacity", "threshold", "brightness", "contrast", "truth"],
        "The report of this case",
        *["axial", "axial-slice", "coronal", "coronal-slice", "sagittal", "sagittal-slice"],
        *["Lesion 1: 0.67 ml", "Lesion 2: 0.04 ml"],
    ]


def test_viewer_fits_a_laptop(viewer):
    viewer.set_viewport_size({"width": 1366, "height": 768})
    controls = viewer.locator("canvas, input, select, button, #here")
    assert controls.count() == 15
    for control in controls.all():
        box = control.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 768
        assert box["x"] + box["width"] <= 1366


def test_planes_have_one_scale(viewer):
    """The scan measures 36 x 45 x 40 mm; half a pixel is rounding."""
    sides = {"axial": (36, 45), "coronal": (36, 40), "sagittal": (45, 40)}
    scales = []
    for name, (wide, high) in sides.items():
        box = viewer.locator(f"#{name}").bounding_box()
        scales += [box["width"] / wide, box["height"] / high]
    np.testing.assert_allclose(scales, scales[0], atol=0.5 / 36)


def test_lesion_button_goes_there(viewer):
    viewer.get_by_role("button", name="Lesion 2").press("Enter")
    assert viewer.locator("#axial-slice").input_value() in ("12", "13")
    here = viewer.locator("#here").inner_text().split("\n")
    assert here[0].startswith("MNI ")
    assert here[1:] == ["inside the mask", "probability 0.90", "uncertainty 0.10"]
    label = viewer.get_by_role("img", name="axial slice").get_attribute("aria-label")
    assert "; ".join(here) in label


def test_click(viewer):
    canvas = viewer.locator("#axial")
    box = canvas.bounding_box()
    canvas.click(position={"x": 1, "y": box["height"] - 1})
    places = [viewer.locator(f"#{name}-slice").input_value() for name in ("sagittal", "coronal")]
    assert places == ["23", "0"]  # far right of the patient, far back
    assert "outside the mask" in viewer.locator("#here").inner_text()


def test_wheel_moves_slices_of_the_plane_with_focus_only(viewer):
    viewer.set_viewport_size({"width": 1366, "height": 300})
    slider = viewer.locator("#axial-slice")
    before = slider.input_value()
    viewer.locator("#axial").hover()
    viewer.mouse.wheel(0, 100)
    until(viewer, "window.scrollY > 0")
    assert slider.input_value() == before
    viewer.evaluate("window.scrollTo(0, 0)")
    viewer.locator("#axial").focus()
    viewer.locator("#axial").hover()
    scrolled = viewer.evaluate("window.scrollY")
    viewer.mouse.wheel(0, -100)
    until(viewer, f"document.getElementById('axial-slice').value === '{int(before) + 1}'")
    assert viewer.evaluate("window.scrollY") == scrolled


def test_threshold_changes_the_mask_and_says_its_volume(viewer):
    """The probability is 0.9 in the mask of 158 voxels of 4.5 mm3, which has no other value."""
    threshold = viewer.get_by_label("Threshold")
    said = viewer.locator("#threshold-value")
    assert said.inner_text() == "0.50, as predicted: 0.7 ml"
    drawn = orange(viewer, "axial")
    threshold.fill("80")
    assert said.inner_text() == "0.80: 0.7 ml"
    np.testing.assert_array_equal(orange(viewer, "axial"), drawn)
    threshold.fill("95")
    assert said.inner_text() == "0.95: 0.0 ml"
    assert not orange(viewer, "axial").any()


def test_truth_is_an_outline_that_can_be_hidden(viewer):
    green = (pixels(viewer, "axial")[..., :3] == (127, 211, 78)).all(axis=-1)
    assert green.sum() == 2 * 5 + 2 * 4  # the edge of 5 x 6 voxels
    viewer.get_by_label("Truth").uncheck()
    assert orange(viewer, "axial").sum() == green.sum()


def test_cohort_is_sorted_by_a_click(page, out):
    page.goto((out / "index.html").as_uri())
    for order, first in (("ascending", "sub-2"), ("descending", "sub-1")):
        page.get_by_role("button", name="Volume (ml)").click()
        assert page.locator("tbody tr").first.get_attribute("data-case") == first
        assert page.locator(f"th[aria-sort={order}]").count() == 1


def test_ratings_are_downloaded_and_read_back(page, out, tmp_path):
    page.goto((out / "index.html").as_uri())
    page.get_by_label("Rating of sub-1, unet").select_option("doubtful")
    page.get_by_label("Notes on sub-1, unet").fill("left\tMCA  ")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download ratings.tsv").click()
    assert download.value.suggested_filename == "ratings.tsv"
    download.value.save_as(tmp_path / "ratings.tsv")
    rated = read_ratings(tmp_path / "ratings.tsv")
    assert rated == {("sub-1", "unet"): ("doubtful", "left MCA"), ("sub-2", "unet"): ("", "")}
    page.reload()
    assert page.get_by_label("Rating of sub-1, unet").input_value() == ""
    page.get_by_label("Load a ratings.tsv").set_input_files(tmp_path / "ratings.tsv")
    page.get_by_text("2 of 2 ratings belong to cases of this page").wait_for()
    assert page.get_by_label("Rating of sub-1, unet").input_value() == "doubtful"
    assert page.get_by_label("Notes on sub-1, unet").input_value() == "left MCA"


def test_overlay_opacity_and_brightness(viewer):
    viewer.get_by_label("Truth").uncheck()
    drawn = {}
    for shown in ("mask", "probability", "uncertainty", "none"):
        viewer.get_by_label("Overlay").select_option(shown)
        drawn[shown] = pixels(viewer, "axial")
    grays = drawn["none"]
    assert orange(viewer, "axial").sum() == 0
    changed = {name: (drawn[name] != grays).any(axis=-1).sum() for name in drawn}
    assert changed == {"mask": 30, "probability": 30, "uncertainty": 30, "none": 0}  # 5 x 6 voxels
    viewer.get_by_label("Overlay").select_option("uncertainty")
    viewer.get_by_label("Opacity").fill("0")
    np.testing.assert_array_equal(pixels(viewer, "axial"), grays)
    viewer.get_by_label("Brightness").fill("-30")
    assert pixels(viewer, "axial")[..., 0].sum() < grays[..., 0].sum()
