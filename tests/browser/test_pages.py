"""The pages of a prediction in headless Chromium, from file://, as a user opens them.

Screenshots go to the folder that STROKE_NETS_SCREENSHOTS names, to be looked at.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from stroke_nets.pages.cohort import write_index
from stroke_nets.pages.prediction_report import write_prediction_report

from ..pages import predictions

BROWSER = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: apt-get install chromium"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None,
        reason="no playwright: pip install 'stroke-nets[browser]'",
    ),
]
SCREENS = {"desktop": (1280, 900), "phone": (390, 800)}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out, cases = predictions.write_folder(tmp_path_factory.mktemp("pages"))
    for scan, sidecar in cases.items():
        write_prediction_report(sidecar, scan)
    write_index(out)
    return out


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


def orange(page, plane):
    """Where a plane shows the outline's full colour."""
    return (pixels(page, plane)[..., :3] == (255, 127, 14)).all(axis=-1)


def keep_screenshots(page, name):
    folder = os.environ.get("STROKE_NETS_SCREENSHOTS")
    for screen, (width, height) in SCREENS.items() if folder else ():
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=Path(folder) / f"{name}_{screen}.png", full_page=True)


def test_index_leads_to_every_page_and_back(page, out):
    page.goto((out / "index.html").as_uri())
    keep_screenshots(page, "index")
    for case in ("sub-1", "sub-2"):
        page.get_by_role("link", name=f"report of {case}").click()
        assert page.title() == f"Lesions of {case}, unet"
        keep_screenshots(page, f"report_{case}")
        page.get_by_role("link", name="three planes").click()
        page.wait_for_selector("body[data-ready]")
        assert page.title() == f"Viewer: {case}, unet"
        keep_screenshots(page, f"viewer_{case}")
        page.get_by_role("link", name="report").click()
        page.get_by_role("link", name="All cases").click()
        assert page.title() == "Predictions"


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_screen(page, out, screen):
    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    for path in sorted(out.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_viewer_shows_the_mask_in_its_place(viewer):
    """The lesion lies at x 14 to 20 (of 24, RAS), y 8 to 14 (of 30): right of the patient, back."""
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
    assert f"slice {place + 1}," in slider.get_attribute("aria-valuetext")
    assert f"{place + 1} of 0 to" in viewer.locator(f"#{plane}-label").inner_text()
    assert not np.array_equal(pixels(viewer, plane), before)
    viewer.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(pixels(viewer, plane), before)
    viewer.keyboard.press("End")
    assert not orange(viewer, plane).any()


def test_tab_reaches_every_control(viewer):
    reached = []
    for _ in range(9):
        viewer.keyboard.press("Tab")
        reached.append(
            viewer.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    assert reached == [
        *["The report of this case", "overlay", "opacity", "brightness", "Lesion 1", "Lesion 2"],
        *["axial-slice", "coronal-slice", "sagittal-slice"],
    ]


def test_lesion_button_goes_there(viewer):
    viewer.get_by_role("button", name="Lesion 2").press("Enter")
    assert viewer.locator("#axial-slice").input_value() in ("12", "13")
    here = viewer.get_by_role("status").inner_text()
    assert "inside the mask; probability 0.90; uncertainty 0.10" in here
    assert here in viewer.get_by_role("img", name="axial slice").get_attribute("aria-label")


def test_click_and_wheel(viewer):
    canvas = viewer.locator("#axial")
    box = canvas.bounding_box()
    canvas.click(position={"x": 1, "y": box["height"] - 1})
    places = [viewer.locator(f"#{name}-slice").input_value() for name in ("sagittal", "coronal")]
    assert places == ["23", "0"]  # far right of the patient, far back
    assert "outside the mask" in viewer.get_by_role("status").inner_text()
    before = int(viewer.locator("#axial-slice").input_value())
    viewer.mouse.wheel(0, -100)
    viewer.wait_for_function(f"document.getElementById('axial-slice').value === '{before + 1}'")


def test_overlay_opacity_and_brightness(viewer):
    drawn = {}
    for shown in ("mask", "probability", "uncertainty", "none"):
        viewer.get_by_label("Overlay", exact=True).select_option(shown)
        drawn[shown] = pixels(viewer, "axial")
    grays = drawn["none"]
    assert orange(viewer, "axial").sum() == 0
    changed = {name: (drawn[name] != grays).any(axis=-1).sum() for name in drawn}
    assert changed == {"mask": 30, "probability": 30, "uncertainty": 30, "none": 0}  # 5 x 6 voxels
    viewer.get_by_label("Overlay", exact=True).select_option("uncertainty")
    viewer.get_by_label("Opacity of the overlay").fill("0")
    np.testing.assert_array_equal(pixels(viewer, "axial"), grays)
    viewer.get_by_label("Brightness of the scan").fill("50")
    assert pixels(viewer, "axial")[..., 0].sum() < grays[..., 0].sum()
