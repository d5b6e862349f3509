"""Rows T18 and T19: what a command line asks of a bundle is known, of the right kind, possible."""

import math
import sys
from pathlib import Path

import monai.bundle
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import create_workflow

from stroke_nets.errors import UsageError
from stroke_nets.runs.bundle_run import read_settings
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.runs.options import OPTIONAL, RULES, command_line, read_options

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = BUNDLES / "d_unet" / "configs"
MAIN = str(Path(monai.bundle.__file__).with_name("__main__.py"))
TRAIN = str(CONFIGS / "train.yaml")

pytestmark = pytest.mark.filterwarnings("default")  # MONAI warns about its own calls


def read(*words, file=TRAIN):
    """The options of a command line, as the configuration would hold them."""
    return read_options(*command_line(["run", "training", "--config_file", str(file), *words]))


def refused(*words, file=TRAIN):
    with pytest.raises(UsageError) as raised:
        read(*words, file=file)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_T18_cuda_without_a_gpu_is_one_line(file, simulated, tmp_path):
    given = {"dataset_dir": str(simulated), "output_dir": str(tmp_path), "device": "cuda"}
    with pytest.raises(RuntimeError) as raised:
        ConfigWorkflow(str(CONFIGS / file), logging_file=False, **given).initialize()
    found = str(find_error(raised.value))
    assert found == "device cuda: PyTorch sees 0 GPUs here; say --device cpu"


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml", "evaluate.yaml"])
def test_T19_mistyped_option_is_refused(file):
    said = refused("--dataset_dri", "data", file=CONFIGS / file)
    assert said.startswith("--dataset_dri: no such option of this bundle; did you mean dataset_dir")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max_epoch", "1"], "did you mean max_epochs?"),
        (["--train#trianer", "1"], "did you mean trainer?"),
        (["--trian#trainer#max_epochs", "1"], "did you mean train?"),
        (["--optimizer#lrr", "1"], "did you mean lr?"),
        (["--network_def#widhts", "[4,8]"], "did you mean widths?"),
        (["--overwrite", "maybe"], "--overwrite maybe: give true or false"),
        (["--max_epochs", "many"], "--max_epochs many: give a number, as 150"),
        (["--max_epochs"], "--max_epochs True: give a number"),
        (["--widths", "4 8"], "--widths 4 8: give a list, as '[32, 64"),
        (["--widths", "[4,eight]"], "--widths [4, 'eight']: give a list"),
        (["--fold", "one"], "--fold one: give a number, as 0"),
        (["--max_epochs", "None"], "--max_epochs None: give a value"),
        (["--device", "none"], "--device None: give a value"),
        (["--+network_def", "1"], "--+network_def: would replace network_def, not extend it"),
    ],
)
def test_T19_wrong_options_are_refused(words, said):
    assert said in refused(*words)


def test_T19_words_become_what_they_say():
    words = ["--overwrite", "false", "--amp=TRUE", "--manifest", "null", "--sampler", "None"]
    words += ["--bundle_root", "x", "--train#trainer#max_epochs", "1", "--dataset_dir", "2024"]
    assert read(*words, "--network_def#dropout", "0.1", "--widths", "4,8") == {
        "overwrite": False,
        "amp": True,
        "manifest": None,
        "sampler": None,
        "train::trainer::max_epochs": 1,
        "dataset_dir": "2024",
        "network_def::dropout": 0.1,
        "widths": (4, 8),
    }


def test_T19_options_of_an_overlay_and_an_args_file(tmp_path):
    (tmp_path / "args.json").write_text('{"max_epochs": 3, "fold": 1}')
    configs = BUNDLES / "agmr_net" / "configs"
    files = [str(configs / f"{name}.yaml") for name in ("train", "whole_brain_train")]
    found = read("--args_file", str(tmp_path / "args.json"), "--fold", "2", file=files)
    assert found == {"max_epochs": 3, "fold": 2}
    assert read("--stacks", "4", file=files) == {"stacks": 4}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_epochs": 0}, "--max_epochs 0: give a whole number, 1 or more"),
        ({"max_epochs": 1.5}, "--max_epochs 1.5: give a whole number"),
        ({"batch_size": 0}, "--batch_size 0: give a whole number, 1 or more"),
        ({"num_workers": -1}, "--num_workers -1: give a whole number, 0 or more"),
        ({"val_interval": 0}, "--val_interval 0: give a whole number"),
        ({"patience": 0}, "--patience 0: give a whole number"),
        ({"learning_rate": -1}, "--learning_rate -1: give a number above 0"),
        ({"lr_gamma": 0}, "--lr_gamma 0: give a number above 0"),
        ({"amp": "yes"}, "--amp yes: give true or false"),
        ({"dataset_dir": ["a", "b"]}, "--dataset_dir ['a', 'b']: give a name or path"),
    ],
)
def test_T19_impossible_values_are_refused_before_anything_starts(option, said, tmp_path):
    flow = ConfigWorkflow(TRAIN, logging_file=False, output_dir=str(tmp_path / "run"), **option)
    with pytest.raises(RuntimeError) as raised:
        flow.initialize()
    assert str(find_error(raised.value)).startswith(said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["--dataset_dir", "2024"], "2024"),
        (["--dataset_dir=1_000"], "1_000"),
        (["--dataset_dir", "1e3"], "1e3"),
        (["--dataset_dir", "a,b"], "a,b"),
        (["--dataset_dir", "[1]"], "[1]"),
        (["--dataset_dir", "True"], "True"),
        (["--dataset-dir", "{x}"], "{x}"),
        (["--dataset_dir", "'2024'"], "2024"),
    ],
)
def test_T19_a_folder_is_text_whatever_its_name(words, folder):
    assert read(*words) == {"dataset_dir": folder}
    value = words[-1].partition("=")[2] or words[-1]
    assert read_settings([f"dataset_dir={value}"]) == {"dataset_dir": folder}


WRONG = [None, -1, 0.5, "x", [], ["x"], [0.5], math.nan, True]


@pytest.mark.parametrize("key", RULES)
def test_T19_each_rule_refuses_values_of_other_types(key):
    refused = [value for value in WRONG if not RULES[key].allows(value)]
    assert len(refused) >= 5


def test_T19_every_configuration_keeps_the_rules():
    seen = set()
    for file in BUNDLES.glob("*/configs/**/*.yaml"):
        for key, value in yaml.safe_load(file.read_text()).items():
            expression = isinstance(value, str) and value[:1] in ("$", "@", "%")
            if key not in RULES or expression or (value is None and key in OPTIONAL):
                continue
            assert RULES[key].allows(value), (file, key)
            seen.add(key)
    # those that a bundle gives as expressions or null alone
    assert set(RULES) - seen == {
        *("output_dir", "predictions_dir", "compiled_dir", "checkpoint", "manifest", "patience")
    }


def test_T19_a_misspelt_space_is_refused():
    flow = ConfigWorkflow(str(CONFIGS / "evaluate.yaml"), logging_file=False, space="natvie")
    with pytest.raises(RuntimeError) as raised:
        flow.initialize()
    assert str(find_error(raised.value)) == "--space natvie: give one of native, network"


def test_T19_what_a_command_line_says_reaches_the_configuration(simulated, tmp_path, monkeypatch):
    given = {"dataset_dir": str(simulated), "output_dir": str(tmp_path), "overwrite": "false"}
    words = [word for key, value in given.items() for word in (f"--{key}", value)]
    words += ["--widths", "[4,8,8,8,16]", "--augmentation", "None"]
    monkeypatch.setattr(sys, "argv", [MAIN, "run", "training", "--config_file", TRAIN, *words])
    given["widths"] = [4, 8, 8, 8, 16]
    parser = create_workflow(config_file=TRAIN, logging_file=False, **given).parser
    assert parser["overwrite"] is False
    assert parser["augmentation"] is None


def test_T19_a_wrong_option_ends_the_command_with_one_line(processes):
    words = ("run", "training", "--config_file", TRAIN, "--max_epoch", "1")
    done = processes.run("-m", "monai.bundle", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: --max_epoch: no such option of this bundle; did you mean" in done.stderr
