"""The cohort page's table: who stands out, ratings, failed scans, the CSV."""

import csv
import json

import pytest
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.errors import DataError
from stroke_nets.pages.cohort import read_ratings, stand_out, write_index
from stroke_nets.pages.prediction_case import PredictionCase

from . import predictions
from .page import Page


@pytest.fixture
def out(tmp_path):
    """A folder of two cases whose reports are there; what they show does not matter here."""
    out, cases = predictions.write_folder(tmp_path)
    for sidecar in cases.values():
        PredictionCase(sidecar).beside("report.html").touch()
    return out


def case(folder, name, volume, fit=0.8):
    """A case with one lesion of a volume in ml, or none."""
    sidecar = folder / f"{name}_desc-unet_mask.json"
    sidecar.write_text(json.dumps({"Registration": {"resemblance": fit}}))
    lines = ["lesion,volume_ml", *([f"1,{volume}"] if volume else [])]
    sidecar.with_name(f"{name}_desc-unet_lesions.csv").write_text("\n".join(lines) + "\n")
    return PredictionCase(sidecar)


def test_volumes_and_registrations_stand_out_beyond_tukeys_fences(tmp_path):
    """Of 1, 2, 4, 8 and 16 ml the quartiles of the logarithms are those of 2 and 8: the fences are
    at 2 / 8 = 0.25 ml and 8 * 8 = 64 ml."""
    near = [case(tmp_path, f"sub-{ml}", ml) for ml in (1, 2, 4, 8, 16)]
    assert stand_out(near) == [""] * 5
    odd = [case(tmp_path, "sub-a", 0), case(tmp_path, "sub-b", 4, 0.5)]
    assert stand_out([*near, *odd]) == [*[""] * 5, "empty mask", "poor registration"]
    far = [case(tmp_path, "sub-c", 0.001), case(tmp_path, "sub-d", 1000)]
    again = [case(tmp_path, f"sub-x{ml}", ml) for ml in (3, 4, 5)]
    assert stand_out([*near, *again, *far])[-2:] == ["small volume", "large volume"]


def test_four_cases_are_too_few_to_stand_out(tmp_path):
    cases = [case(tmp_path, f"sub-{ml}", ml) for ml in (1, 1.1, 1.2, 1000)]
    assert stand_out(cases) == [""] * 4


def test_csv_has_a_line_for_each_case(out):
    write_index(out)
    with (out / "cohort.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["case"], first["method"], first["lesions"]) == ("sub-1", "unet", "2")
    assert float(first["total_ml"]) == float(first["left_ml"]) == 0.711  # 0.675 + 0.036
    assert float(first["largest_ml"]) == 0.675
    assert (second["total_ml"], second["stands_out"]) == ("0", "empty mask")


def test_ratings_beside_the_page_are_shown_and_kept_in_the_csv(out):
    (out / "ratings.tsv").write_text("case\tmethod\trating\tnotes\nsub-1\tunet\tbad\t<b>\"x'\n")
    text = write_index(out).read_text()
    page = Page(text)
    assert [one["value"] for one in page.all("input") if "value" in one] == ["<b>\"x'", ""]
    assert "<option selected>bad</option>" in text
    assert not page.all("b")
    with (out / "cohort.csv").open(newline="") as file:
        assert [row["rating"] for row in csv.DictReader(file)] == ["bad", ""]


def test_report_reads_the_ratings_of_a_folder_of_predictions(out):
    (out / "ratings.tsv").write_text("case\tmethod\trating\tnotes\nsub-1\tunet\tbad\tmotion\n")
    result = CliRunner().invoke(app, ["report", str(out), "--json"])
    assert json.loads(result.stdout)["cohort"] == str(out / "cohort.csv")
    with (out / "cohort.csv").open(newline="") as file:
        rated = {row["case"]: (row["rating"], row["notes"]) for row in csv.DictReader(file)}
    assert rated == {"sub-1": ("bad", "motion"), "sub-2": ("", "")}


def test_one_case_has_no_plot(tmp_path):
    _, cases = predictions.write_folder(tmp_path)
    sidecars = list(cases.values())
    PredictionCase(sidecars[0]).beside("report.html").touch()
    assert "<svg" not in write_index(tmp_path / "out").read_text()
    PredictionCase(sidecars[1]).beside("report.html").touch()
    assert "<svg" in write_index(tmp_path / "out").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case\trating\nsub-1\tbad\n", "no column method, notes"),
        (
            "case\tmethod\trating\tnotes\nsub-1\tunet\tfine\t\n",
            "rating 'fine' of sub-1; choose good",
        ),
    ],
)
def test_damaged_ratings(tmp_path, text, message):
    path = tmp_path / "ratings.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_ratings(path)


def test_failed_scans_are_named(out):
    (out / "summary.json").write_text(json.dumps({"failed": [{"input": "<i>a", "error": "bad"}]}))
    text = write_index(out).read_text()
    assert "1 scan failed" in text
    assert "<strong>&lt;i&gt;a</strong>: bad" in text
    (out / "summary.json").write_text("{")
    with pytest.raises(DataError, match=r"summary\.json: not of"):
        write_index(out)


def test_a_folder_without_cases(tmp_path):
    text = write_index(tmp_path).read_text()
    assert "0 cases" in text
    assert (tmp_path / "cohort.csv").read_text() == "case\n"
