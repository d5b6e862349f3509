import math
import re

import pandas as pd
import pytest

from stroke_nets.errors import DataError, UsageError
from stroke_nets.papers.table_files import printed, write_table
from stroke_nets.papers.tables import build_table, in_subset, published
from stroke_nets.runs.results import evaluated_folds, read_cases, read_run

TABLE = {
    "title": "A paper, Table 1: methods",
    "dataset": "atlas_r12",
    "folds": 2,
    "metrics": ["dice", "dice_global", "asd", "hd95", "lesion_f1"],
    "reference": "best/default",
    "tests": ["dice"],
    "rows": [
        {"label": "Good", "run": "good/default", "published": {"dice": [0.5, 0.1]}, "note": "odd"},
        {"label": "Absent_one", "run": "absent/x", "published": {"dice": [0.9, 0.2]}},
        {
            "label": "Best",
            "run": "best/default",
            "published": {"dice_p": [0.002, None], "parameters": [1000, None]},
        },
    ],
}


def written(table, tmp_path, runs, note="", policy="paper"):
    """The three files of a table, the CSV as a data frame."""
    built = build_table("made_up", table, runs, policy)
    md, tex, csv = write_table(built, tmp_path / "out", table["folds"], note)
    return md.read_text(), tex.read_text(), pd.read_csv(csv)


def lines_of(markdown, label):
    """The cells of a method's three lines."""
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    start = next(i for i, cells in enumerate(rows) if cells[0] == label)
    return [[cell.strip(" |") for cell in cells] for cells in rows[start : start + 3]]


def test_ours_stands_beside_the_papers(tmp_path, runs):
    runs("good/default", 2)
    root = runs("best/default", 0)
    markdown, _, table = written(TABLE, tmp_path, root)
    ours, paper, difference = lines_of(markdown, "Good")
    dice = table.query("method == 'Good' and metric == 'dice'").iloc[0]
    cases = pd.read_csv(root / "good/default/fold0/cases.csv")["dice"]
    assert ours[2] == f"{cases.mean():.3f} ± {cases.std():.3f}"
    assert paper[0] == "paper"
    assert paper[1] == "0.500 ± 0.100"
    assert difference[1] == f"{cases.mean() - 0.5:+.3f}"
    assert dice["difference"] == pytest.approx(cases.mean() - 0.5)
    assert dice["ci95_low"] < dice["ours"] < dice["ci95_high"]
    assert "1,234" in ours
    assert "another network" not in lines_of(markdown, "Good")[2]  # no parameters are published


def test_a_row_that_was_not_run_says_so_and_takes_nothing_from_the_paper(tmp_path, runs):
    markdown, tex, table = written(TABLE, tmp_path, runs("good/default", 2))
    ours, paper, difference = lines_of(markdown, "Absent_one")
    assert set(ours[2:8]) == {"not run"}
    assert "0 of 2" in ours
    assert "0.900 ± 0.200" in paper
    assert set(difference[1:7]) == {"-"}
    absent = table[table["method"] == "Absent_one"]
    assert set(absent["status"]) == {"not run"}
    assert absent["ours"].isna().all()
    assert r"Absent\_one & ours & not run" in tex


def test_empty_masks_are_counted_under_both_policies(tmp_path, runs):
    """Of six patients one has no lesion and none predicted, and one is missed."""
    root = runs("good/default", 2)
    paper, _, table = written(TABLE, tmp_path, root)
    penalty, _, penalised = written(TABLE, tmp_path, root, policy="penalty")
    assert "policy 'paper'" in paper
    assert "policy 'penalty'" in penalty
    for markdown, excluded in ((paper, "2"), (penalty, "0")):
        ours = lines_of(markdown, "Good")[0]
        assert "1 / 0 / 1" in ours
        assert ours[-2:] == [excluded, excluded]

    def asd(frame):
        return frame.query("method == 'Good' and metric == 'asd'")["ours"].item()

    assert asd(penalised) > asd(table)


def test_folds_are_pooled_and_counted(tmp_path, runs):
    runs("good/default", 2, [1, 2, 3])
    root = runs("good/default", 0, [4, 5, 6], fold=1)
    markdown, _, table = written(TABLE, tmp_path, root)
    ours = lines_of(markdown, "Good")[0]
    assert "2 of 2" in ours
    assert table.query("method == 'Good'")["n_cases"].eq(6).all()
    assert table.query("method == 'Good'")["folds"].eq("0 1").all()


def test_paired_tests_are_corrected_over_the_rows(tmp_path, runs):
    runs("good/default", 1)
    runs("absent/x", 2)
    root = runs("best/default", 0)
    markdown, _, table = written(TABLE, tmp_path, root)
    found = table[table["metric"].str.contains("wilcoxon")].set_index(["method", "metric"])["ours"]
    # five patients with a lesion all differ in one direction: 2 / 2^5, doubled for two rows
    for method in ("Good", "Absent_one"):
        assert found[method, "dice_paired_wilcoxon"] == pytest.approx(2 / 2**5)
        assert found[method, "dice_paired_wilcoxon_holm"] == pytest.approx(4 / 2**5)
    assert "Best" not in found.index.get_level_values(0)  # is not compared with itself
    assert "0.062 (0.12)" in lines_of(markdown, "Good")[0]
    assert "0.002" in lines_of(markdown, "Best")[1]


def test_parameters_are_equal_or_those_of_another_network(tmp_path, runs):
    """A narrow network's count is not subtracted from the full one's."""
    table = TABLE | {"metrics": ["dice", "parameters"]}
    for parameters, shown in ((1000, "equal"), (999, "another network")):
        root = runs("best/default", 0, parameters=parameters)
        markdown, _, _ = written(table, tmp_path, root)
        assert lines_of(markdown, "Best")[2][2] == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.35e-5, "1.35E-5"),
        (4.06e-4, "4.06E-4"),
        (0.001, "0.001"),
        (0.7269, "0.7269"),
        (0.53, "0.530"),
        (-25.97, "-25.970"),
        (0.0, "0.000"),
    ],
)
def test_published_numbers_show_every_digit_of_the_paper(value, text):
    assert printed(value) == text


def test_published_digits_reach_the_tables(tmp_path):
    """Of all 225 published figures, each is read back from its cell without a change."""
    for name, content in published().items():
        markdown, _, _ = written(content, tmp_path, tmp_path / "no runs")
        for row in content["rows"]:
            cells = " ".join(lines_of(markdown, row["label"])[1]).replace("±", " ").split()
            shown = {float(cell.replace(",", "")) for cell in cells if cell[-1].isdigit()}
            told = [m for m in content["metrics"] if m in row["published"]]
            told += [m for m in row["published"] if m.endswith("_p")]
            for metric in told:
                assert {n for n in row["published"][metric] if n is not None} <= shown, name


def test_reference_minus_row_is_over_the_patients_that_both_have(tmp_path, runs):
    """Patient 1 is missed by the row, so that its distance is undefined for the row alone."""
    table = TABLE | {"metrics": ["asd"], "minus_row": True}
    runs("good/default", 2, [1, 2, 3])
    root = runs("best/default", 1, [1, 2, 3, 4])
    markdown, _, frame = written(table, tmp_path, root)
    cases = [
        pd.read_csv(root / f"{run}/default/fold0/cases.csv").set_index("subject")["asd"]
        for run in ("best", "good")
    ]
    assert cases[1].isna().sum() == 1
    both = ["sub-2", "sub-3"]
    found = frame.query("method == 'Good' and metric == 'asd'").iloc[0]
    assert found["ours"] == pytest.approx((cases[0][both] - cases[1][both]).mean())
    assert found["ours"] != pytest.approx(cases[0].mean() - cases[1].mean())
    assert found["n_excluded"] == 1
    assert "both methods have one" in markdown


def test_a_missing_reference_is_named(tmp_path, runs):
    table = TABLE | {"metrics": ["asd"], "minus_row": True, "rows": TABLE["rows"][:1]}
    markdown, _, frame = written(table, tmp_path, runs("good/default", 2))
    assert "Not run: best/default, with which the rows are compared." in markdown
    assert frame.query("metric == 'asd'")["ours"].isna().all()


@pytest.mark.parametrize("voxel", [1, 8])  # cubic mm: voxels of 1 mm, as in ATLAS, or of 2 mm
def test_subsets_of_small_lesions(voxel):
    def case(volume, largest):
        voxels = volume // voxel
        counts = {"tp": voxels // 2, "fn": voxels - voxels // 2}
        return counts | {
            "truth_ml": voxels * voxel / 1000,
            "largest_lesion_voxels": largest // voxel,
        }

    cases = [case(992, 992), case(1000, 1000), case(1600, 800), case(2000, 1008), case(0, 0)]
    assert in_subset(cases, "entire") == cases
    assert in_subset(cases, "small") == cases[:1]
    assert in_subset(cases, "small_components") == cases[:3]


def test_files_carry_the_note_and_all_notes(tmp_path, runs):
    markdown, tex, _ = written(TABLE, tmp_path, runs("good/default", 2), note="simulated & tiny")
    assert "**simulated & tiny**" in markdown
    assert r"simulated \& tiny" in tex
    for text in (markdown, tex):
        assert "Good: odd." in text
        assert "Lesions are connected by 6 neighbours" in text
    columns = tex.split(r"\toprule")[1].split(r"\\")[0].count("&") + 1
    assert re.search(r"\\begin\{tabular\}\{(l+r+)\}", tex)[1] == "ll" + "r" * (columns - 2)


def test_a_case_in_two_folds_is_refused(tmp_path, runs):
    runs("good/default", 2, [1, 2])
    root = runs("good/default", 2, [2, 3], fold=1)
    with pytest.raises(DataError, match=r"sub-2 .*was also held out in fold 0"):
        read_run(root, "good/default")


def test_folds_that_hold_out_the_same_cases_are_repetitions(runs):
    """Each case's figures are the means; a distance that one repetition lacks is the other's."""
    runs("good/default", 2, [1, 2])
    root = runs("good/default", 4, [1, 2], fold=1)
    folders = [root / "good/default" / f"fold{k}" for k in (0, 1)]
    first, second = ([row["dice"] for row in read_cases(folder)] for folder in folders)
    run = read_run(root, "good/default")
    found = [case["dice"] for case in run.cases]
    assert found == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)])
    assert first != second
    assert list(run.folders) == [0, 1]
    (missed, found_once), twice = (
        [c["hd95"] for c in cases] for cases in (run.cases, read_cases(folders[1]))
    )
    assert all(map(math.isnan, [missed, *twice]))
    assert found_once == read_cases(folders[0])[1]["hd95"]


def test_folds_of_different_networks_are_refused(runs):
    runs("good/default", 2, [1, 2], parameters=5)
    root = runs("good/default", 2, [3], fold=1)
    with pytest.raises(DataError, match="differ in parameters"):
        read_run(root, "good/default")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("summary.json", "{", "not JSON"),
        ("cases.csv", "", "not a table"),
        ("cases.csv", "subject,session\na,b\n", "no column asd"),
    ],
)
def test_damaged_files_are_named(runs, file, text, message):
    root = runs("good/default", 2)
    path = root / "good/default/fold0" / file
    path.write_text(text)
    with pytest.raises(DataError, match=f"{path}: {message}"):
        read_run(root, "good/default")


def test_a_fold_counts_once_it_is_evaluated(runs):
    root = runs("good/default", 2)
    (root / "good/default/fold1/checkpoints").mkdir(parents=True)
    assert list(evaluated_folds(root, "good/default")) == [0]
    assert read_run(root, "other/default") is None


def test_unknown_names():
    with pytest.raises(UsageError, match="agmr_table03"):
        published(["agmr_table02"])
    with pytest.raises(UsageError, match="paper, penalty"):
        build_table("x", TABLE, None, policy="kind")


# ---- the papers' tables as shipped


@pytest.mark.parametrize("name", published())
def test_published_tables_can_be_built(name, tmp_path):
    content = published([name])[name]
    markdown, _, table = written(content, tmp_path, tmp_path / "no runs")
    assert markdown.count("not run") >= len(content["rows"])
    assert table["ours"].isna().all()
    runs = [row["run"] for row in content["rows"]]
    assert len(set(runs)) == len(runs)
    for row in content["rows"]:
        for metric, (mean, _) in row["published"].items():
            if metric not in ("asd", "hd95", "parameters"):
                assert 0 <= mean <= 1


def test_published_tables_agree_with_each_other():
    """Table 4 is the difference of means that stand in Table 5; full model everywhere alike."""
    tables = published()
    five = {row["run"]: row["published"] for row in tables["agmr_table05"]["rows"]}
    full, d_unet = five["agmr_net/default"], five["agmr_net/table05_baseline"]
    four = {row["run"]: row["published"] for row in tables["agmr_table04"]["rows"]}
    asd, hd95 = (four["d_unet/default"][name][0] for name in ("asd", "hd95"))
    assert asd == pytest.approx(full["asd"][0] - d_unet["asd"][0], abs=5e-4)
    assert hd95 == pytest.approx(full["hd95"][0] - d_unet["hd95"][0], abs=4e-3)  # a known slip
    for number in ("03", "07", "09", "10"):
        rows = {r["run"]: r["published"] for r in tables[f"agmr_table{number}"]["rows"]}
        assert rows["agmr_net/default"]["dice"] == full["dice"]


def test_published_schemes_have_their_pair():
    content = published(["mscsa_table1_entire"])["mscsa_table1_entire"]
    with_module = [row for row in content["rows"] if "reference" in row]
    assert len(with_module) == 5
    known = {row["run"] for row in content["rows"]}
    assert {row["reference"] for row in with_module} == known - {r["run"] for r in with_module}
