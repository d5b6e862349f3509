"""Claims are decided as docs/benchmark.md says, on made-up results with known answers."""

import json

import numpy as np
import pandas as pd
import pytest

from stroke_nets.papers import claims
from stroke_nets.papers.claims import (
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    judge,
    papers_claims,
    write_claims,
)
from stroke_nets.papers.grid import all_tables
from stroke_nets.papers.tables import published

PATIENTS = 60
ROW = {"session": "", "image": "i", "label": "l", "prediction": "p", "lesion_f1": 0.5}
ROW |= {"largest_lesion_voxels": 10, "tp": 5, "fp": 0, "fn": 5}


def write(runs, name, dice, fold=0, **more):
    """One evaluated fold with this Dice of each patient."""
    folder = runs / name / f"fold{fold}"
    folder.mkdir(parents=True)
    rows = [
        ROW
        | {"subject": f"sub-{k}", "dice": value, "asd": 1 - value, "hd95": np.nan}
        | {"truth_ml": 0.5 if k % 3 == 0 else 5.0}
        for k, value in enumerate(dice)
    ]
    pd.DataFrame([row | more for row in rows]).to_csv(folder / "cases.csv", index=False)
    (folder / "summary.json").write_text(json.dumps({"parameters": 1, "connectivity": 6}))


def base(seed=0):
    return np.random.default_rng(seed).uniform(0.3, 0.7, PATIENTS)


def noise(scale, seed=1):
    found = np.random.default_rng(seed).normal(0, scale, PATIENTS)
    return found - found.mean()


def decided(runs, gains, table="agmr_table05"):
    """The claim about CPA, where it adds these gains to the baseline, one array for each seed."""
    for fold, gain in enumerate(gains):
        write(runs, "agmr_net/table05_baseline", base(), fold)
        write(runs, "agmr_net/table05_cpa", base() + gain, fold)
    return next(c for c in judge([table], runs) if c.claim.startswith("CPA"))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.05 + noise(0.05), 0.04 + noise(0.05, 2)], SUPPORTED),
        ([0.15 + noise(0.05), -0.01 + noise(0.05, 2)], UNDECIDED),  # not in each seed
        ([noise(0.2), noise(0.2, 2)], UNDECIDED),  # anything may be true
        ([noise(0.01), noise(0.01, 2)], NOT_SUPPORTED),  # a gain of 0.01 is excluded
        ([-0.05 + noise(0.05), -0.04 + noise(0.05, 2)], NOT_SUPPORTED),
    ],
)
def test_one_comparison_is_decided_by_interval_test_and_seeds(tmp_path, gains, verdict):
    claim = decided(tmp_path, gains)
    (found,) = claim.comparisons
    assert claim.verdict == found.verdict == verdict
    assert found.gain == pytest.approx(np.mean(gains))
    assert found.low < found.gain < found.high
    assert (found.n, found.seeds) == (PATIENTS, (2, 2))


def test_a_claim_needs_all_of_its_comparisons(tmp_path):
    """Better than the first and worse than the second of two methods: not supported."""
    write(tmp_path, "agmr_net/table05_cpa", base())
    write(tmp_path, "agmr_net/table06_fa", base() - 0.1 + noise(0.02))
    (claim,) = judge(["agmr_table06"], tmp_path)
    assert [c.verdict for c in claim.comparisons] == [SUPPORTED, NOT_RUN]
    assert claim.verdict == NOT_RUN
    write(tmp_path, "attention_unet/default", base() + 0.1 + noise(0.02))
    (claim,) = judge(["agmr_table06"], tmp_path)
    assert [c.verdict for c in claim.comparisons] == [SUPPORTED, NOT_SUPPORTED]
    assert claim.verdict == NOT_SUPPORTED
    assert claim.sentence.endswith("not supported here (1 of 2 comparisons).")


def test_p_values_are_corrected_over_the_table_s_claims(tmp_path):
    claim = decided(tmp_path, [0.05 + noise(0.05)])
    alone = claim.comparisons[0]
    assert alone.p_holm == alone.p  # the only comparison that was run
    for name in ("cff", "mdu"):
        write(tmp_path, f"agmr_net/table05_{name}", base() + noise(0.3, 3))
    among = judge(["agmr_table05"], tmp_path)[0].comparisons[0]
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(3 * alone.p)


def test_a_smaller_distance_is_a_gain_and_undefined_ones_are_left_out(tmp_path):
    write(tmp_path, "agmr_net/default", base())  # the distance is 1 - Dice
    write(tmp_path, "unet/default", base() - 0.1 + noise(0.02))
    asd, hd95 = judge(["agmr_table04"], tmp_path)
    assert asd.comparisons[0].gain == pytest.approx(0.1)
    assert asd.comparisons[0].verdict == SUPPORTED
    assert (hd95.comparisons[0].n, hd95.comparisons[0].verdict) == (0, NOT_RUN)


def test_claims_on_small_lesions_use_those_patients(tmp_path):
    for name in ("default", "without_mscsa"):
        write(tmp_path, f"mscsa_default/{name}", base())
    tables = ["mscsa_table1_entire", "mscsa_table1_small"]
    judged = [c for c in judge(tables, tmp_path) if c.metric == "lesion_f1"]
    patients = {c.table: c.comparisons[0].n for c in judged}
    assert patients == {"mscsa_table1_entire": PATIENTS, "mscsa_table1_small": PATIENTS // 3}


def test_every_claim_compares_rows_of_its_table():
    entries = papers_claims(all_tables())
    assert {e["table"] for e in entries} == set(all_tables()) - {"agmr_table02"}
    for entry in entries:
        content = published([entry["table"]])[entry["table"]]
        rows = {row["run"] for row in content["rows"]} | {content.get("reference")}
        assert {name for pair in entry["pairs"] for name in pair} <= rows
        assert claims.LEAST.get(entry["metric"], claims.LEAST_OVERLAP) >= 0


def test_files_hold_each_claim_in_one_sentence(tmp_path):
    claim = decided(tmp_path / "runs", [0.05 + noise(0.05)])
    markdown, table, content = write_claims([claim], tmp_path / "out", "simulated patients")
    text = markdown.read_text()
    assert "**simulated patients**" in text
    assert "- agmr_table05: CPA raises the baseline's Dice: supported here (1 of 1" in text
    assert pd.read_csv(table)["verdict"].tolist() == [SUPPORTED]
    assert json.loads(content.read_text())[0]["sentence"] == claim.sentence
