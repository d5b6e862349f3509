import csv
import json
import re

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.summary import summarize
from stroke_nets.pages.case_figure import draw_png, load_slice
from stroke_nets.pages.run_report import write_report

from .page import Page

SHAPE = (12, 16, 8)


def box(x, y, z):
    mask = np.zeros(SHAPE, np.uint8)
    mask[slice(*x), slice(*y), slice(*z)] = 1
    return mask


LESION = box((2, 6), (4, 9), (3, 5))
MASKS = {  # subject: truth, prediction; the order is not that of the page
    "sub-3": (box((0, 0), (0, 0), (0, 0)), LESION),
    "sub-1": (LESION, np.roll(LESION, 1, axis=0)),
    "sub-2": (LESION, np.zeros_like(LESION)),
    "sub-4": (np.zeros_like(LESION), np.zeros_like(LESION)),
}
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def write_results(run, rows, **settings):
    with (run / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (run / "summary.json").write_text(json.dumps(settings | summarize(rows)))


def make_folders(root):
    """A run with four cases, three of them with an empty mask, and its data set."""
    run, dataset = root / "runs" / "my_run", root / "dataset"
    rng = np.random.default_rng(0)
    rows = []
    for subject, (truth, prediction) in MASKS.items():
        row = {
            "subject": subject,
            "session": "ses-1",
            "image": f"{subject}/anat/{subject}_T1w.nii.gz",
            "label": f"{subject}/anat/{subject}_mask.nii.gz",
            "prediction": f"predictions/{subject}.nii.gz",
        }
        save(dataset / row["image"], rng.random(SHAPE, np.float32))
        save(dataset / row["label"], truth)
        save(run / row["prediction"], prediction)
        rows.append(row | case_metrics(prediction, truth, (1, 1, 3)))
    write_results(run, rows, bundle="agmr_net", overlay=str(root / "without_cpa.yaml"), fold=0)
    return run, dataset


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of that run, written once for the tests that only look at it."""
    backend = matplotlib.get_backend()
    folders = make_folders(tmp_path_factory.mktemp("report"))
    page = write_report(*folders)
    assert page == folders[0] / "report.html"
    assert matplotlib.get_backend() == backend
    return page


def test_page_stands_alone(page):
    text = page.read_text()
    assert "://" not in text
    assert str(page.parents[2]) not in text
    assert "without_cpa.yaml" in text
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", text)
    assert not re.search(r"@import|url\(", text)


def test_page_is_accessible(page):
    text = page.read_text()
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert "<title>Evaluation of my_run</title>" in text
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert "research use only" in text
    assert "Radiological convention" in text
    targets = {figure["id"] for figure in page.all("figure")}
    assert {link["href"].removeprefix("#") for link in page.all("a")} == targets


def test_one_picture_per_case_sorted_by_subject(page):
    images = Page(page.read_text()).all("img")
    starts = [image["alt"].split(",")[0] for image in images]
    assert starts == ["sub-1 ses-1", "sub-2 ses-1", "sub-3 ses-1", "sub-4 ses-1"]
    slices = [int(re.search(r"slice (\d+)", image["alt"])[1]) for image in images]
    assert slices == [3, 3, 3, 4]  # truth, truth, prediction, middle


def test_tables_show_figures_and_say_what_is_undefined(page):
    text = page.read_text()
    dice = summarize([case_metrics(b, a, (1, 1, 3)) for a, b in MASKS.values()])["metrics"]["dice"]
    assert f"<td>{dice['mean']:.3f} ± {dice['std']:.3f}</td>" in text
    assert f'<strong class="total">{dice["mean"]:.3f}</strong> mean Dice of 4 cases' in text
    assert "<td>0.750</td>" in text
    row = re.search(r"sub-2</a>.*?</tr>", text, re.S)[0]
    assert re.findall(r"<td>([^<]*)</td>", row)[:6] == ["ses-1", *["0.000"] * 3, "n/a", "n/a"]
    assert "agmr_net" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()


def test_text_is_escaped(folders):
    run, dataset = folders
    with (run / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows[0]["subject"] = '<script>"&'
    write_results(run, rows[:1])
    page = Page(write_report(run, dataset).read_text())
    assert not page.all("script")
    assert any('<script>"&' in image["alt"] for image in page.all("img"))


def test_slice_is_turned_to_ras(tmp_path):
    truth = box((9, 11), (4, 9), (3, 5))
    for name, voxels in (("image", truth * 7.0), ("label", truth), ("prediction", truth)):
        save(tmp_path / f"{name}.nii.gz", voxels, np.diag([-0.5, 2.0, 3.0, 1.0]))
    shown = load_slice(*(tmp_path / f"{name}.nii.gz" for name in ("image", "label", "prediction")))
    assert shown.spacing == (0.5, 2.0)
    assert shown.z == 3
    np.testing.assert_array_equal(shown.truth, truth[::-1, :, 3] > 0)
    np.testing.assert_array_equal(shown.image > 0, shown.truth)


def test_picture_shows_left_on_the_right_anterior_up_in_mm(tmp_path):
    """The lesion lies left, anterior: its colour must be top right; voxels are 1 x 2 mm."""
    truth = box((0, 4), (12, 16), (0, 8))
    for name, voxels in (("image", np.ones(SHAPE)), ("label", truth), ("prediction", truth)):
        save(tmp_path / f"{name}.nii.gz", voxels, np.diag([1.0, 2.0, 1.0, 1.0]))
    shown = load_slice(*(tmp_path / f"{name}.nii.gz" for name in ("image", "label", "prediction")))
    (tmp_path / "case.png").write_bytes(draw_png(shown))
    pixels = matplotlib.image.imread(tmp_path / "case.png")[..., :3]
    second = pixels[:, pixels.shape[1] // 4 : pixels.shape[1] // 2]
    orange = (second[..., 0] > 0.7) & (second[..., 2] < 0.3)
    rows, columns = np.nonzero(orange)
    assert columns.mean() > second.shape[1] * 0.6
    assert rows.mean() < second.shape[0] * 0.4
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(4 * 2 / 4, rel=0.1)


@pytest.mark.parametrize("name", ["cases.csv", "summary.json"])
def test_missing_results(folders, name):
    run, dataset = folders
    (run / name).unlink()
    with pytest.raises(UsageError, match=f"my_run: no {name} there; run evaluating first"):
        write_report(run, dataset)


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("which", ["label", "prediction"])
def test_masks_on_another_grid(folders, which, moved):
    run, dataset = folders
    path = {
        "label": dataset / "sub-1/anat/sub-1_mask.nii.gz",
        "prediction": run / "predictions/sub-1.nii.gz",
    }[which]
    if moved:
        save(path, LESION, AFFINE + np.eye(4, k=3))
    else:
        save(path, LESION[:-1])
    with pytest.raises(DataError, match=f"{path.name}: its grid") as error:
        write_report(run, dataset)
    assert "\n" not in str(error.value)


def test_unreadable_scan(folders):
    run, dataset = folders
    path = run / "predictions/sub-1.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"sub-1\.nii\.gz: not a NIfTI file"):
        write_report(run, dataset)
    path.unlink()
    with pytest.raises(DataError, match=r"sub-1\.nii\.gz: no such file"):
        write_report(run, dataset)


def test_scan_without_three_dimensions(folders):
    run, dataset = folders
    save(dataset / "sub-1/anat/sub-1_T1w.nii.gz", np.zeros((*SHAPE, 2), np.float32))
    with pytest.raises(DataError, match="4D, with 2 volumes"):
        write_report(run, dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run / "summary.json").write_text("{"), "not JSON"),
        (lambda run: (run / "cases.csv").write_text("subject,session\n"), "no case"),
        (lambda run: (run / "cases.csv").write_text("subject\nsub-1\n"), "no column asd, dice"),
    ],
)
def test_damaged_results(folders, change, message):
    run, dataset = folders
    change(run)
    with pytest.raises(DataError, match=message):
        write_report(run, dataset)


def test_absolute_path_in_the_table(folders):
    run, dataset = folders
    with (run / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows[0]["prediction"] = str(run / rows[0]["prediction"])
    write_results(run, rows)
    with pytest.raises(DataError, match="must be relative"):
        write_report(run, dataset)
