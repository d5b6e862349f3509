"""Every bundle of the patch protocol and every overlay, tiny, on simulated patients."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.errors import UsageError
from stroke_nets.inference.pseudo_label import pseudo_label

BUNDLES = Path(__file__).parents[2] / "bundles"
TRAINED = ["mscsa_default", "mscsa_dtk10", "mscsa_res_unet", "mscsa_self_training", "resenc_unet"]
VARIANTS = {"focal": 2, "labels_msl_focal": 5, "labels_dbl_focal": 3, "mscsa_target16": 2}
VARIANTS |= {"mscsa_depth3": 2, "mscsa_shared": 2, "mscsa_fuse": 2}  # of the authors' code: classes
OVERLAYS = [
    (name, overlay.stem)
    for name in TRAINED
    for overlay in sorted((BUNDLES / name / "configs" / "ablations").glob("*.yaml"))
    if overlay.stem not in VARIANTS
]
SHAPE = {"widths": [4, 8, 8], "patch_size": [16, 16, 16], "flips": False}
MEMBERS = {"heads": 2, "blocks": [1, 1, 1]}
TINY = SHAPE | {
    "supervision": [2, 1],
    "max_epochs": 2,
    "train_batches": 2,
    "val_batches": 2,
    "num_workers": 0,
}

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


@pytest.fixture(scope="session")
def start(workflow):
    """A function: an initialised workflow; options that its file has no use for are left out."""

    def start(what, name, file, overlay, **options):
        folder = "" if overlay == "accelerate" else "ablations/"
        over = [] if overlay == "default" else [f"{folder}{overlay}"]
        known = (BUNDLES / name / "configs" / f"{file}.yaml").read_text()
        options = {k: v for k, v in options.items() if f"\n{k}:" in known}
        return workflow(name, file, *over, kind=what, **options)

    return start


@pytest.fixture(scope="session")
def train(start):
    """A function: train into ``runs``, as the bundle lays it out."""

    def train(runs, root, name, overlay="default", **options):
        where = {"dataset_dir": str(root), "output_dir": str(runs / name / overlay / "fold0")}
        options = where | {"cache_dir": str(runs / "cache")} | TINY | MEMBERS | options
        flow = start("train", name, "train", overlay, **options)
        assert flow.check_properties() == []
        flow.run()
        return Path(where["output_dir"])

    return train


@pytest.fixture(scope="session")
def predict(start):
    """A function: infer and evaluate; returns the case table."""

    def predict(runs, root, name, overlay="default"):
        output_dir = runs / name / overlay / "fold0"
        where = {"dataset_dir": str(root), "output_dir": str(output_dir), "runs_dir": str(runs)}
        options = where | SHAPE | MEMBERS | {"res_heads": 2, "register": False}  # thinned scans
        flow = start("infer", name, "inference", overlay, **options)
        assert flow.check_properties() == []
        flow.run()
        start(None, name, "evaluate", overlay, **where).parser.get_parsed_content("run")
        return pd.read_csv(output_dir / "cases.csv")

    return predict


@pytest.fixture(scope="module")
def patients(simulated, tmp_path_factory):
    """A copy to which pseudo labels can be added."""
    return shutil.copytree(simulated, tmp_path_factory.mktemp("patients") / "data")


@pytest.fixture(scope="module")
def runs(train, patients, tmp_path_factory):
    """Every trained bundle and overlay, two epochs each; MSCSA's pseudo labels in between."""
    folder = tmp_path_factory.mktemp("runs")
    labels = folder / "labels"
    for name, overlay in [*((name, "default") for name in TRAINED), *OVERLAYS]:
        options = {}
        if name == "mscsa_self_training":
            options["manifest"] = str(labels / "manifest.json")
            if not labels.exists():
                label(patients, folder, labels)
        train(folder, patients, name, overlay, **options)
    return folder


def label(root, runs, out):
    """Pseudo labels of scans that the manifest does not know."""
    unknown = root / "unlabelled" / "sub-9"
    unknown.mkdir(parents=True)
    scan = nib.load(sorted(root.glob("sub-*/**/*_T1w.nii.gz"))[0])
    other = nib.Nifti1Image(1.5 * scan.get_fdata(), scan.affine)  # the same bytes would be a leak
    nib.save(other, unknown / "sub-9_T1w.nii.gz")
    folders = [runs / name / "default" / "fold0" for name in TRAINED[:3]]
    made = pseudo_label(root, folders, fold=0, image="unlabelled/**/*_T1w.nii.gz")
    out.mkdir()
    made.rename(out / "manifest.json")


@pytest.mark.parametrize(("name", "overlay"), [(n, "default") for n in TRAINED] + OVERLAYS)
def test_trained_bundle_segments(predict, runs, patients, name, overlay, record_outcome):
    if overlay == "default":
        record_outcome(name, "run")
    saved = torch.load(
        runs / name / overlay / "fold0" / "checkpoints" / "last.pt", weights_only=True
    )
    assert saved["trainer"]["max_epochs"] == 2
    has_attention = any("skip_attention" in key for key in saved["network"])
    assert has_attention == (overlay != "without_mscsa" and name != "resenc_unet")
    cases = predict(runs, patients, name, overlay)
    assert len(cases) == 2
    mask = nib.load(runs / name / overlay / "fold0" / cases["prediction"][0])
    scan = nib.load(patients / cases["image"][0])
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)  # float32 header


def test_accelerated_training_computes_the_same(train, runs, patients, tmp_path):
    accelerated = train(tmp_path, patients, "mscsa_default", "accelerate")
    networks = [
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["network"]
        for folder in (accelerated, runs / "mscsa_default" / "default" / "fold0")
    ]
    # sums in another order, four steps long
    torch.testing.assert_close(*networks, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("overlay", ["default", "without_mscsa", "labelings"])
def test_ensemble_segments_and_is_the_mean_of_its_members(
    predict, runs, patients, overlay, record_outcome
):
    if overlay == "default":
        record_outcome("mscsa_ensemble", "run")
    cases = predict(runs, patients, "mscsa_ensemble", overlay)
    assert len(cases) == 2


def test_self_training_trains_on_pseudo_labels_and_validates_without(runs, patients):
    config = yaml.safe_load(
        (runs / "mscsa_self_training" / "default" / "fold0" / "config.yaml").read_text()
    )
    records = json.loads(Path(config["manifest"]).read_text())["records"]
    pseudo = [record for record in records if "pseudo_fold" in record]
    assert [record["subject"] for record in pseudo] == ["sub-9"]
    assert pseudo[0]["pseudo_fold"] == 0
    assert pseudo[0]["split"] == "train"
    assert (patients / pseudo[0]["label"]).is_file()


def test_pseudo_labels_are_refused_to_another_fold(train, runs, patients):
    options = {"manifest": str(runs / "labels" / "manifest.json"), "fold": 1}
    with pytest.raises(RuntimeError) as raised:
        train(runs / "other", patients, "mscsa_self_training", **options)
    assert "pseudo-label --fold 1" in str(raised.value.__cause__ or raised.value)


def test_source_that_saw_the_fold_is_refused(runs, patients):
    source = [runs / "mscsa_default" / "default" / "fold0"]
    with pytest.raises(UsageError, match="was trained on sub-"):
        pseudo_label(patients, source, fold=1, image="unlabelled/**/*_T1w.nii.gz")


def test_published_way_takes_any_source(runs, patients):
    source = [runs / "mscsa_default" / "default" / "fold0"]
    made = pseudo_label(patients, source, fold=None, image="unlabelled/**/*_T1w.nii.gz")
    assert made.parent.name == "published"
    records = json.loads(made.read_text())["records"]
    assert records[-1]["pseudo_fold"] is None
    with pytest.raises(UsageError, match="holds pseudo labels"):
        pseudo_label(patients, source, fold=None, image="unlabelled/**/*_T1w.nii.gz")


def test_sources_of_two_recipes_are_refused(runs, patients, tmp_path):
    folder = runs / "mscsa_default" / "default" / "fold0"
    other = tmp_path / "fold0"
    other.mkdir()
    (other / "checkpoints").symlink_to(folder / "checkpoints")
    text = (folder / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("masked_zscore: false", "masked_zscore: true"))
    with pytest.raises(UsageError, match="masked_zscore"):
        pseudo_label(patients, [folder, other], fold=None, image="unlabelled/**/*.nii.gz")
    (other / "config.yaml").write_text(f"{text}more:\n  _target_: os.system\n")
    with pytest.raises(UsageError, match="more#_target_ runs code from elsewhere"):
        pseudo_label(patients, [folder, other], fold=None, image="unlabelled/**/*.nii.gz")
    (other / "config.yaml").write_text(text.replace("manifest: null\n", ""))
    with pytest.raises(UsageError, match=r"config\.yaml does not say manifest"):
        pseudo_label(patients, [folder, other], fold=None, image="unlabelled/**/*.nii.gz")


def test_patch_that_the_strides_do_not_divide_is_refused(train, patients, tmp_path):
    with pytest.raises(RuntimeError) as raised:
        train(tmp_path, patients, "mscsa_default", patch_size=[16, 16, 18])
    assert "multiples of 4" in str(raised.value.__cause__ or raised.value)


def test_checkpoint_of_other_widths_is_refused(start, runs, patients):
    output_dir = runs / "mscsa_default" / "default" / "fold0"
    options = {"dataset_dir": str(patients), "output_dir": str(output_dir)} | SHAPE | MEMBERS
    options |= {"widths": [4, 8, 16], "overwrite": True}
    with pytest.raises(RuntimeError) as raised:
        start("infer", "mscsa_default", "inference", "default", **options)
    assert "of another network" in str(raised.value.__cause__ or raised.value)


def test_learning_rate_follows_the_polynomial(train, patients, tmp_path):
    folder = train(tmp_path, patients, "resenc_unet")
    saved = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert saved["lr_scheduler"]["_last_lr"] == [0.0]  # after the last epoch
    scheduler = torch.optim.lr_scheduler.PolynomialLR(
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01), 1000, 0.9
    )
    for epoch in range(3):
        assert scheduler.get_last_lr()[0] == pytest.approx(0.01 * (1 - epoch / 1000) ** 0.9)
        scheduler.optimizer.step()
        scheduler.step()


def test_pseudo_label_command_asks_for_one_way(patients):
    done = CliRunner().invoke(app, ["pseudo-label", str(patients), "--run", "y"])
    assert done.exit_code == 2
    assert "--fold K or --published" in done.output


def test_dice_pools_the_batch_on_request():
    """`--loss#loss#batch True` reaches MONAI's loss; the default is each sample by itself."""
    for options, pools in (({}, False), ({"loss::loss::batch": True}, True)):
        parser = ConfigParser()
        parser.read_config(str(BUNDLES / "mscsa_default" / "configs" / "train.yaml"))
        for key, value in options.items():
            parser[key] = value
        assert parser.get_parsed_content("loss").loss.loss.dice.batch is pools


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_the_authors_code_takes_a_training_step(name):
    """Its network and loss only: the rest is that of the overlays above."""
    configs = BUNDLES / "mscsa_default" / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / "train.yaml"), str(configs / "ablations" / f"{name}.yaml")])
    narrow = {"widths": [4, 4, 8, 8], "heads": 2, "supervision": [4, 2, 1]}
    for key, value in narrow.items():
        parser[key] = value
    network = parser.get_parsed_content("network_def").train()
    output = network(torch.randn(2, 1, 16, 16, 16))
    assert (parser["overlay"], output[0].shape[1]) == (name, VARIANTS[name])
    label = torch.randint(0, VARIANTS[name], (2, 1, 16, 16, 16))
    loss = parser.get_parsed_content("loss")(output, label)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in network.get_submodule("skip_attention").parameters())
