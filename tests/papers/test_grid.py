"""Tables expand into the right jobs: which, how often, by what command, after what."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference import pseudo_label
from stroke_nets.papers.grid import LAYERS, all_tables, dataset_of, expand
from stroke_nets.papers.reproduce import places, table_names
from stroke_nets.papers.self_training import choose, label
from stroke_nets.papers.settings import settings
from stroke_nets.papers.tables import published

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"
DEMO = places("demo", BUNDLES, None, ())
FULL = places("full", BUNDLES, None, ())


def runs(jobs):
    return [job for job in jobs if job.run]


def test_all_are_the_papers_twelve_tables():
    agmr = [f"agmr_table{number:02}" for number in range(2, 12)]
    assert table_names("all") == [*agmr, "mscsa_table1_entire", "mscsa_table1_small"]


@pytest.mark.parametrize("table", [name for name in all_tables() if name != LAYERS])
def test_every_row_and_reference_of_a_table_is_run_in_every_fold(table):
    content = published([table])[table]
    wanted = {row["run"] for row in content["rows"]}
    wanted |= {row["reference"] for row in [content, *content["rows"]] if "reference" in row}
    for where, folds in ((DEMO, 2), (FULL, content["folds"])):
        found = {(job.run, job.output.parent.name) for job in runs(expand([table], where))}
        assert found == {(run, f"fold{fold}") for run in wanted for fold in range(folds)}


def test_table_11_tests_all_28_patients_in_five_folds():
    jobs = runs(expand(["agmr_table11"], FULL))
    assert len(jobs) == 10 * 5
    assert {job.output.parent.name for job in jobs} == {f"fold{k}" for k in range(5)}


def test_runs_that_tables_share_are_run_once():
    jobs = expand(all_tables(), DEMO)
    assert len({job.name for job in jobs}) == len({job.output for job in jobs}) == len(jobs)
    names = {row["run"] for name in all_tables()[1:] for row in published([name])[name]["rows"]}
    assert len(runs(jobs)) == 2 * len(names)


@pytest.mark.parametrize("where", [DEMO, FULL])
def test_a_job_comes_after_all_that_it_needs(where):
    made = {root / "manifest.json" for root in where.datasets.values()} if where is FULL else set()
    for job in expand(all_tables(), where):
        assert made.issuperset(job.needs), job.name
        made.add(job.output)


SOURCES = ["mscsa_default/default", "mscsa_dtk10/default", "mscsa_res_unet/default"]


def self_training(rule, scale="full"):
    """The jobs of Table 1 by name."""
    return {
        job.name: job
        for job in expand(["mscsa_table1_entire"], places(scale, BUNDLES, None, (), rule=rule))
    }


def summaries(runs, folds):
    return [Path("runs") / run / f"fold{k}" / "summary.json" for run in runs for k in folds]


def test_self_training_follows_the_papers_rule():
    """The best of three labels once, by its models of all folds; all folds train on its labels."""
    jobs = self_training("paper")
    choose, label = jobs["choose_atlas_v20"], jobs["pseudo_labels_atlas_v20"]
    assert list(choose.needs) == summaries(SOURCES, range(5))
    assert list(choose.command[-3:]) == SOURCES
    assert label.needs == (choose.output,)
    for overlay in ("default", "without_mscsa"):
        for fold in range(5):
            job = jobs[f"mscsa_self_training_{overlay}_fold{fold}"]
            assert label.output in job.needs
            assert job.command[job.command.index("--manifest") + 1] == str(label.output)


def test_self_training_by_the_code_averages_all_fifteen():
    label = self_training("code")["pseudo_labels_atlas_v20_published"]
    assert list(label.needs) == summaries(SOURCES, range(5))
    assert (label.command.count("--run"), "--published" in label.command) == (15, True)


def test_self_training_without_leak_takes_the_fold_s_own_three():
    jobs = self_training("leak-free")
    label = jobs["pseudo_labels_atlas_v20_fold3"]
    assert list(label.needs) == summaries(SOURCES, [3])
    assert list(label.command[2:6]) == ["pseudo-label", "data/atlas_v20", "--fold", "3"]
    assert label.output in jobs["mscsa_self_training_default_fold3"].needs


def test_an_unknown_rule_is_one_line():
    with pytest.raises(UsageError, match="--self-training best: choose one of paper, code, leak"):
        places("demo", BUNDLES, None, (), rule="best")


def test_best_scheme_has_the_highest_mean_dice_over_all_folds(tmp_path, runs):
    """The first has the higher Dice in fold 0 and the lower over both."""
    for name, missed in (("a/default", (1, 8)), ("b/default", (2, 2))):
        runs(name, missed[0], [1, 2, 3])
        root = runs(name, missed[1], [4, 5], fold=1)
    best = tmp_path / "chosen" / "best.json"
    assert choose(["a/default", "b/default"], root, best) == "b/default"
    content = json.loads(best.read_text())
    assert (content["best"], content["folds"]) == ("b/default", [0, 1])
    with pytest.raises(DataError, match="evaluate all schemes in the same"):
        choose(["a/default", "c/default"], root, best)


def test_the_chosen_scheme_labels_with_its_models_of_all_folds(tmp_path, monkeypatch):
    best = tmp_path / "best.json"
    best.write_text(json.dumps({"best": "b/default", "folds": [0, 1]}))
    given = {}
    monkeypatch.setattr(
        pseudo_label, "pseudo_label", lambda root, runs, **more: given.update(runs=runs, **more)
    )
    label(best, Path("runs"), tmp_path)
    assert given["runs"] == [Path("runs/b/default/fold0"), Path("runs/b/default/fold1")]
    assert (given["fold"], given["folder"]) == (None, "best_scheme")


@pytest.mark.parametrize("overlay", ["default", "without_mscsa"])
def test_an_ensemble_needs_the_four_schemes_of_its_overlay(overlay):
    jobs = {job.name: job for job in expand(["mscsa_table1_small"], DEMO)}
    needs = jobs[f"mscsa_ensemble_{overlay}_fold1"].needs
    members = settings()["members"]["mscsa_ensemble"]
    assert [need.parts[-4:-1] for need in needs if need.name == "summary.json"] == [
        (member, overlay, "fold1") for member in members
    ]


def test_members_are_those_of_the_ensembles_own_configuration():
    text = (BUNDLES / "mscsa_ensemble" / "configs" / "inference.yaml").read_text()
    for bundle, members in settings()["members"].items():
        assert bundle == "mscsa_ensemble"
        assert all(f"@member.format('{name}')" in text for name in members)
        assert text.count("@member.format(") == len(members)


def test_runs_of_figures_10_and_11_save_stage_maps():
    jobs = runs(expand(all_tables(), DEMO))
    assert {job.run for job in jobs if "--stage-maps" in job.command} == {
        "agmr_net/default",
        "agmr_net/table05_cff",
        "agmr_net/table05_cpa_cff",
    }


def test_a_command_is_the_whole_run():
    job = runs(expand(["agmr_table11"], FULL))[0]
    command = f"-m stroke_nets run-method {BUNDLES}/unet --overlay isles2015 --fold 0 "
    command += "--data data/isles2015 --runs runs --scale full"
    assert " ".join(job.command) == command
    assert job.output == Path("runs/unet/isles2015/fold0/summary.json")


def test_a_data_set_can_lie_elsewhere():
    where = places("full", BUNDLES, Path("r"), ["isles2015=/d/isles"])
    job = runs(expand(["agmr_table11"], where))[0]
    assert job.needs == (Path("/d/isles/manifest.json"),)
    with pytest.raises(UsageError, match="--dataset isles=x: write NAME=FOLDER"):
        places("full", BUNDLES, None, ["isles=x"])


def test_bundles_from_elsewhere_need_consent(tmp_path):
    shutil.copytree(BUNDLES / "unet", tmp_path / "unet")
    with pytest.raises(UsageError, match=r"unet: a bundle from elsewhere .* --trust"):
        places("demo", tmp_path, None, ())
    assert places("demo", tmp_path, None, (), trust=True).bundles == tmp_path


def test_every_run_of_the_figures_has_a_data_set():
    assert dataset_of("mscsa_ensemble/default") == "atlas_v20"
    assert dataset_of("agmr_net/table05_cff") == "atlas_r12"


def test_what_is_unknown_is_one_line():
    with pytest.raises(UsageError, match="table 'agmr_table12': choose among agmr_table02"):
        table_names("agmr_table12")
    with pytest.raises(UsageError, match="--scale tiny: choose among demo, bench, full"):
        places("tiny", BUNDLES, None, ())
    with pytest.raises(UsageError, match="no bundle unet; give their folder"):
        expand(["agmr_table11"], places("demo", Path("nowhere"), None, ()))


def test_dry_run_prints_every_command_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no snakemake
    options = ["--bundles", str(BUNDLES), "--dry-run", "--executor", "slurm", "--slurm", "mem=9G"]
    done = CliRunner().invoke(app, ["reproduce", "mscsa_table1", *options])
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    jobs = expand(["mscsa_table1_entire", "mscsa_table1_small"], DEMO)
    assert [line for line in lines if " -m " in line] == [job.line for job in jobs]
    steps = [line for line in lines if line.startswith("# step")]
    wanted = ["make the simulated", "train each method", "choose the best of the first three"]
    wanted += ["label the unlabelled", "train a generic U-Net", "average the schemes"]
    for number, (step, text) in enumerate(zip(steps, wanted, strict=True), start=1):
        assert step.startswith(f"# step {number}: {text}")
    assert "--executor slurm --jobs 2 --default-resources mem=9G" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_dry_run_leaves_out_what_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = expand(["agmr_table06"], DEMO)
    for job in jobs[:2]:
        job.output.parent.mkdir(parents=True)
        job.output.write_text(json.dumps({}))
    command = ["reproduce", "agmr_table06", "--bundles", str(BUNDLES), "--dry-run"]
    done = CliRunner().invoke(app, command)
    assert [line for line in done.stdout.splitlines() if " -m " in line] == [
        job.line for job in jobs[2:]
    ]
