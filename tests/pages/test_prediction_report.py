import base64
import gzip
import hashlib
import json
import re
from urllib.parse import unquote

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError
from stroke_nets.pages.cohort import write_index
from stroke_nets.pages.prediction_case import PredictionCase
from stroke_nets.pages.prediction_figure import chosen_slices, planes_png
from stroke_nets.pages.prediction_report import (
    limits,
    sentence,
    without_interval,
    write_prediction_report,
)
from stroke_nets.pages.viewer import lesion_places, write_viewer
from stroke_nets.registration.transform import Transform
from stroke_nets.registration.transform import save as save_transform
from stroke_nets.registration.volume import brain

from . import predictions
from .page import Page


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Both cases with their pages, written once."""
    out, cases = predictions.write_folder(tmp_path_factory.mktemp("private_name"))
    for scan, sidecar in cases.items():
        report = write_prediction_report(sidecar, scan)
        assert report.name == sidecar.name.replace("_mask.json", "_report.html")
    assert write_index(out) == out / "index.html"
    return out


def text_of(out, case, kind):
    return (out / case / "anat" / f"{case}_desc-unet_{kind}.html").read_text()


def given(page):
    """What the script of a viewer is given."""
    return json.loads(re.search(r'id="volumes">(.*?)</script>', page)[1])


def voxels(layer, shape):
    packed = gzip.decompress(base64.b64decode(layer["data"]))
    return np.frombuffer(packed, np.uint8).reshape(shape, order="F")


def test_pages_stand_alone(out):
    pages = list(out.rglob("*.html"))
    assert len(pages) == 5
    for path in pages:
        text = path.read_text()
        assert "://" not in text, path
        own = r"data:image/(?:png|jpeg);base64,|[\w./-]+\.html\"|cohort\.csv\""
        assert not re.search(rf'(src|href)="(?!{own})', text), path
        assert not re.search(r"@import|url\(", text), path
        assert "default-src 'none'" in text


def test_pages_name_no_folder_and_no_header_text(out):
    for path in out.rglob("*.html"):
        text = path.read_text()
        for private in (predictions.SECRET, "/home/jane", "private_name"):
            assert private not in text, path
    assert "best.pt" in text_of(out, "sub-1", "report")


def test_pages_are_accessible(out):
    for path in out.rglob("*.html"):
        text = path.read_text()
        page = Page(text)
        assert page.all("html") == [{"lang": "en"}]
        assert text.partition("<body>")[0].count("<title>") == len(page.all("h1")) == 1
        assert all(len(image["alt"]) > 20 for image in page.all("img"))
        labelled = {label["for"] for label in page.all("label")}
        controls = page.all("input") + page.all("select")
        assert {one["id"] for one in controls if "aria-label" not in one} == labelled
        assert all(canvas["role"] == "img" for canvas in page.all("canvas"))
        assert "research use only" in text


def test_report_shows_what_was_found(out):
    text = text_of(out, "sub-1", "report")
    assert '<strong class="total">0.71 ml</strong> of lesion' in text  # 0.675 + 0.036
    assert "in 1 lesion of at least 0.1 ml and 1 smaller." in text
    large, small = text.split("<details>")[:2]
    assert '<th scope="row">1</th><td>0.68</td><td>left</td>' in large
    assert '<th scope="row">2</th><td>0.04</td><td>left</td>' in small
    assert "7 of the 7 slices with a lesion: 6, 7, 8, 9, 10, 12, 13." in text
    assert "probability in the mask: <strong>0.100</strong>" in text
    assert "0" * 64 in text
    assert "lesion 1 touches the border &lt;b&gt;&amp;" in text
    assert not Page(text).all("b")


def test_report_of_an_empty_mask_says_so(out):
    text = text_of(out, "sub-2", "report")
    assert '<strong class="total">0.00 ml</strong> of lesion' in text
    assert "The mask is empty: no lesion was found." in text
    assert "; none was found." in text
    assert "Uncertainty was not measured" in text
    assert "<strong>Warning:</strong>" not in text
    assert "not there on the template's grid" in text


def test_index_links_every_page(out):
    page = Page((out / "index.html").read_text())
    targets = {unquote(link["href"]) for link in page.all("a")} - {"cohort.csv"}
    assert targets == {path.relative_to(out).as_posix() for path in out.rglob("*_desc-unet_*.html")}
    for report in out.rglob("*_report.html"):
        links = [link["href"] for link in Page(report.read_text()).all("a")]
        assert all((report.parent / link).resolve().is_file() for link in links)
        assert "../../index.html" in links


def test_viewer_holds_the_volumes_in_ras(out):
    content = given(text_of(out, "sub-1", "viewer"))
    mask = predictions.volumes([((4, 9), (8, 14), (6, 11)), ((15, 17), (18, 20), (12, 14))])[1]
    assert content["shape"] == list(predictions.SHAPE)
    np.testing.assert_array_equal(voxels(content["layers"]["mask"], mask.shape), 255 * mask[::-1])
    assert set(content["layers"]) == {"scan", "mask", "probability", "uncertainty"}
    assert content["layers"]["uncertainty"]["top"] == pytest.approx(0.1)
    assert content["start"] == [17, 10, 8]  # the middle of the larger lesion, x turned round
    assert content["worlds"]["MNI"][0] == pytest.approx([1.5, 0, 0, 20 - 1.5 * 23])


def test_viewer_runs_its_own_script_only(out):
    text = text_of(out, "sub-1", "viewer")
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_viewer_text_is_escaped(tmp_path):
    scan, mask = predictions.volumes([])
    case = predictions.as_volumes(scan, mask, {"</script><b>": mask})
    text = write_viewer(tmp_path / "page.html", "<b>", case).read_text()
    assert not Page(text).all("b")
    assert "</script><b>" in given(text)["layers"]


def test_large_scan_is_thinned_and_keeps_small_lesions(tmp_path):
    mask = np.zeros((7, 5, 641), np.uint8)
    mask[3, 3, 101] = 1
    case = predictions.as_volumes(np.ones(mask.shape), mask, {})
    text = write_viewer(tmp_path / "page.html", "large", case).read_text()
    content = given(text)
    assert (content["step"], content["shape"]) == (3, [3, 2, 214])
    assert np.argwhere(voxels(content["layers"]["mask"], (3, 2, 214))).tolist() == [[1, 1, 33]]
    assert content["start"] == [1, 1, 33]
    assert "Every voxel in 3 is shown" in text


def test_lesions_come_largest_first_at_a_voxel_of_their_own():
    mask = np.zeros((12, 12, 3), bool)
    mask[1, 1, 1] = True
    mask[4:11, 4:11, 1] = True
    mask[6:9, 6:9, 1] = False  # a ring: its centre is outside
    large, small = lesion_places(mask)
    assert (small.place, small.voxels) == ((1, 1, 1), 1)
    assert large.voxels == 49 - 9
    assert mask[large.place]


def test_slices_run_through_the_lesions():
    image = np.zeros((4, 4, 50))
    image[..., 10:40] = 1
    mask = np.zeros(image.shape, bool)
    assert chosen_slices(image, mask, 3) == [10, 24, 39]
    mask[0, 0, [20, 30]] = True
    assert chosen_slices(image, mask, 3) == [20, 30]


def test_mask_on_the_template_and_its_registration(tmp_path):
    _, cases = predictions.write_folder(tmp_path)
    scan, sidecar = next(iter(cases.items()))
    template = brain()
    mask = np.zeros(template.voxels.shape, np.uint8)
    mask[60:70, 100:110, 80:83] = 1
    named = "sub-1_space-MNI152NLin2009aSym_desc-unet_mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, template.affine), sidecar.with_name(named))
    sidecar.with_name("sub-1_to-MNI152NLin2009aSym_qc.png").write_bytes(b"registration")
    text = write_prediction_report(sidecar, scan).read_text()
    assert "outline on the template's brain, MNI152NLin2009aSym" in text
    assert base64.b64encode(b"registration").decode() in text


def test_mask_on_another_grid(tmp_path):
    _, cases = predictions.write_folder(tmp_path)
    (first, sidecar), (second, _) = cases.items()
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5)), np.eye(4)), second)
    with pytest.raises(DataError, match=r"sub-1_desc-unet_mask\.nii\.gz: its grid is not"):
        write_prediction_report(sidecar, second)
    sidecar.write_text("{")
    with pytest.raises(DataError, match=r"mask\.json: cannot be read"):
        write_prediction_report(sidecar, first)
    with pytest.raises(DataError, match="give the sidecar"):
        write_prediction_report(first, first)


def sidecar_of(out, content):
    """The first case's sidecar with more in it, in a folder of its own."""
    _, cases = predictions.write_folder(out)
    scan, sidecar = next(iter(cases.items()))
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | content))
    return scan, sidecar


def test_sentence_names_software_weights_volume_and_interval(tmp_path):
    content = {
        "GeneratedBy": [{"Name": "stroke-nets", "Version": "1.2"}],
        "Weights": [{"bundle": "unet", "sha256": "ab" * 32}],
        "Lesions": {"interval_ml": [0.5, 0.9], "interval_level": 0.9},
    }
    _, sidecar = sidecar_of(tmp_path, content)
    assert sentence(PredictionCase(sidecar)) == (
        "Stroke lesions were segmented on the T1-weighted scan with stroke-nets 1.2 (unet, weights "
        "abababab); the total volume was 0.71 ml (90 % interval 0.50 ml to 0.90 ml) in 2 lesions, "
        "1 of them of at least 0.1 ml; the largest measured 0.68 ml in the left hemisphere."
    )


def test_minimum_size_of_the_prediction_decides_what_is_folded(tmp_path):
    _, sidecar = sidecar_of(tmp_path, {"MinimumSizeMl": 0.01})
    large, small = PredictionCase(sidecar).split()
    assert ([one["lesion"] for one in large], small) == (["1", "2"], [])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"trained_on": "simulated patients", "dice_real": 0.5}, "Mean Dice 0.50 on the real"),
        (
            {"trained_on": "simulated patients", "limits": ["misses small ones"]},
            "misses small ones",
        ),
        ({"trained_on": "the user's own data"}, "known only from your own evaluation"),
    ],
)
def test_limits_of_the_weights_are_said_in_words(weights, words):
    alone = limits([{"bundle": "unet"} | weights])
    assert any(words in line for line in alone)
    assert "Look at every mask" in alone[-1]
    of_two = limits([{"bundle": "unet"} | weights, {"bundle": "segnet"}])
    assert any(words in line and line.startswith("unet: ") for line in of_two)
    assert sum(line.startswith("segnet: ") for line in of_two) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"Weights": [{"bundle": "unet"}]}, ["measured for these weights."]),
        (
            {"Weights": [{"volume_ratio": [{"from_ml": 10}]}]},
            ["measured for volumes as small as this."],
        ),
        ({"Lesions": {"interval_ml": [0.5, 0.9]}}, []),
    ],
)
def test_a_volume_without_interval_says_why(tmp_path, content, words):
    _, sidecar = sidecar_of(tmp_path, content)
    found = without_interval(PredictionCase(sidecar))
    assert len(found) == len(words)
    assert all(line.endswith(end) for line, end in zip(found, words, strict=True))


def test_report_says_how_the_mask_agrees_with_a_given_truth(tmp_path):
    """The mask is moved by one of its five voxels along x, and has 150 and 8 of 4.5 mm3."""
    scan, sidecar = sidecar_of(tmp_path, {})
    truth = predictions.volumes([((5, 10), (8, 14), (6, 11))])[1]
    predictions.save(tmp_path / "truth.nii.gz", truth)
    text = write_prediction_report(sidecar, scan, tmp_path / "truth.nii.gz").read_text()
    assert "The given truth has 0.67 ml; Dice 0.779." in text  # 2 * 120 / (158 + 150)
    assert "green: that of the given truth" in text
    assert "given truth" not in write_prediction_report(sidecar, scan).read_text()


def test_scanner_and_template_coordinates_have_names(tmp_path):
    """The transform takes the template to the scan, so MNI is half of the scanner's mm here."""
    name = "sub-1_to-MNI152NLin2009aSym_transform.json"
    scan, sidecar = sidecar_of(tmp_path, {"Registered": True, "Files": {"transform": name}})
    transform = Transform(np.diag([2.0, 2.0, 2.0, 1.0]))
    save_transform(sidecar.with_name(name), transform, nib.load(scan), {})
    worlds = PredictionCase(sidecar).worlds()
    assert set(worlds) == {"scanner", "MNI"}
    np.testing.assert_array_equal(worlds["scanner"], np.eye(4))
    np.testing.assert_array_equal(worlds["MNI"], np.diag([0.5, 0.5, 0.5, 1]))


def test_truth_on_another_grid(tmp_path):
    scan, sidecar = sidecar_of(tmp_path, {})
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5)), np.eye(4)), tmp_path / "truth.nii.gz")
    with pytest.raises(DataError, match=r"truth\.nii\.gz: its grid is not"):
        write_prediction_report(sidecar, scan, tmp_path / "truth.nii.gz")


def test_planes_show_each_side_at_its_letter(tmp_path):
    """The lesion of `volumes` at x 14 to 20 of 24 in RAS is on the patient's right: at the left."""
    scan, mask = predictions.volumes([((4, 9), (8, 14), (6, 11))])
    case = predictions.as_volumes(scan[::-1], mask[::-1], {})
    (tmp_path / "planes.png").write_bytes(planes_png(case, (17, 10, 8)))
    pixels = matplotlib.image.imread(tmp_path / "planes.png")[..., :3]
    columns = np.nonzero((pixels[..., 0] > 0.8) & (pixels[..., 2] < 0.3))[1]
    middles = np.cumsum([0, 21, 21, 27]) / 69 * pixels.shape[1]  # mm, as the head is wide
    axial = columns[columns < middles[1]]
    assert len(axial)
    assert axial.mean() < middles[1] / 2
