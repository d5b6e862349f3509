"""The compared methods' bundles: each trains, segments and is evaluated, tiny, in this process.

`test_agmr_net.py` runs the same shared parts as a user does, in processes of their own.
"""

import json
import math
import re
import runpy
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from stroke_nets.runs.bundle_run import bundle_command

BUNDLES = Path(__file__).parents[2] / "bundles"
STAGES, RESNET = [4, 8, 8, 8, 16], [16, 16, 32, 32]
METHODS = {
    "d_unet": STAGES,
    "x_net": STAGES,
    "clci_net": STAGES,
    "unet": STAGES,
    "unet_3d": STAGES,
    "segnet": STAGES,
    "pspnet": RESNET,
    "deeplab_v3": RESNET,
    "attention_unet": STAGES,
    "unet_plus_plus": STAGES,
}
RUNS = [(name, None) for name in METHODS]
RUNS += [(name, "datasets/own_paper") for name in ("d_unet", "x_net", "clci_net")]
OWN_METADATA = {"changelog", "required_packages_version", "name", "description", "authors"}
OWN_METADATA |= {"references", "data_source"}


def configs(bundle):
    return BUNDLES / bundle / "configs"


def test_every_slice_bundle_is_here():
    found = {path.parents[1].name for path in BUNDLES.glob("*/configs/train.yaml")}
    shared = {n for n in found if "SliceDataset" in (configs(n) / "train.yaml").read_text()}
    assert shared == METHODS.keys() | {"agmr_net"}
    example = runpy.run_path(str(BUNDLES.parent / "examples" / "all_methods.py"))
    assert sorted(example["METHODS"]) == sorted(shared)


FAST = {"batch_size": 8, "max_epochs": 1, "val_interval": 1, "num_workers": 0}


@pytest.mark.parametrize(("bundle", "overlay"), RUNS)
@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
def test_trains_segments_and_is_evaluated(
    bundle, overlay, workflow, simulated, volume_cache, tmp_path, monkeypatch, record_outcome
):
    if overlay is None:
        record_outcome(bundle, "run")
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")
    options = {"dataset_dir": str(simulated), "output_dir": str(tmp_path), "size": 48}
    options["widths"] = METHODS[bundle]
    over = [overlay] if overlay else []
    fast = FAST | {"cache_dir": str(volume_cache)}  # all methods see the same volumes
    training = workflow(bundle, "train", *over, kind="train", **options, **fast)
    assert training.check_properties() == []
    training.run()
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (written["bundle"], written["overlay"]) == (bundle, Path(overlay or "default").name)
    inference = workflow(bundle, "inference", *over, kind="infer", register=False, **options)
    assert inference.check_properties() == []
    inference.run()
    workflow(bundle, "evaluate", *over, **options).run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["bundle"], summary["n_cases"]) == (bundle, 2)
    assert len(list(tmp_path.glob("predictions/**/*.nii.gz"))) == 2


@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
def test_accelerated_training_computes_the_same(
    workflow, simulated, volume_cache, tmp_path, capsys
):
    options = FAST | {"dataset_dir": str(simulated), "cache_dir": str(volume_cache), "size": 48}
    options["widths"] = METHODS["unet"]
    losses = []
    for overlay in ([], ["accelerate"]):
        options |= {"output_dir": str(tmp_path / str(len(overlay)))}
        workflow("unet", "train", *overlay, **options).run()
        losses.append(float(re.search(r"train_loss (\S+)", capsys.readouterr().out)[1]))
    # not the weights: Adam turns the rounding of a bias's zero gradient into whole steps
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


X_NETS_MAIN = {"factor": 0.2, "patience": 3, "min_delta": 1e-3, "stop_patience": 5}


@pytest.mark.parametrize(("bundle", "size"), [("x_net", [192, 224]), ("clci_net", [176, 224])])
def test_own_paper_follows_x_nets_main(bundle, size):
    """The values of X-Net's main.py, to which CLCI-Net's README refers."""
    own = ConfigParser.load_config_file(str(configs(bundle) / "datasets" / "own_paper.yaml"))
    assert (own["size"], own["batch_size"], own["max_epochs"]) == (size, 8, 100)
    assert X_NETS_MAIN.items() <= own["lr_scheduler"].items()
    assert own["lr_step"]["_target_"].endswith("ValidationLoss")


def test_own_paper_of_d_unet_augments_as_its_code(bundle_config):
    """Stroke_segment.py: shift 0.1, zoom 0.2, rotation 20 degrees, left-right flips."""
    parser = bundle_config("d_unet", "train", "datasets/own_paper")
    affine, flip = parser.get_parsed_content("augmentation").transforms
    generator = affine.rand_affine.rand_affine_grid
    assert generator.rotate_range == pytest.approx((math.radians(20),))
    assert generator.translate_range == pytest.approx((19.2,))
    assert generator.scale_range == (0.2, 0.2)
    assert (affine.rand_affine.prob, flip.flipper.spatial_axis, flip.prob) == (1.0, 0, 0.5)


KEYS = ("widths", "dropout", "resnet", "network_def")


@pytest.mark.parametrize("bundle", METHODS)
def test_training_and_inference_build_one_network(bundle):
    defined = [
        {key: ConfigParser.load_config_file(str(configs(bundle) / file)).get(key) for key in KEYS}
        for file in ("train.yaml", "inference.yaml")
    ]
    assert defined[0] == defined[1]


@pytest.mark.parametrize("bundle", METHODS)
def test_metadata_differs_from_agmr_nets_in_its_own_entries_only(bundle):
    ours, model = (
        json.loads((configs(name) / "metadata.json").read_text()) for name in (bundle, "agmr_net")
    )
    assert {key for key in model if ours[key] != model[key]} <= OWN_METADATA
    assert ours.keys() == model.keys()


@pytest.mark.parametrize("bundle", METHODS)
def test_demo_and_many_devices_lie_over_training(bundle, bundle_config):
    for overlay in ("demo", "multi_gpu_train", "accelerate"):
        parser = bundle_config(bundle, "train", overlay)
        with torch.device("meta"):
            network = parser.get_parsed_content("network_def")
        assert isinstance(network, torch.nn.Module)


@pytest.mark.parametrize("bundle", METHODS)
def test_every_command_names_its_own_bundle(bundle):
    for file in configs(bundle).rglob("*.yaml"):
        comments = [line for line in file.read_text().splitlines() if line.startswith("# ")]
        named = {
            word
            for line in comments
            for word in METHODS.keys() | {"agmr_net"}
            if f"bundles/{word}/" in line
        }
        assert named == {bundle}, file


def test_x_nets_penalty_is_on_every_kernel_but_the_heads(bundle_config):
    parser = bundle_config("x_net", "train", "datasets/own_paper", widths=STAGES)
    network, optimizer = (parser.get_parsed_content(key) for key in ("network_def", "optimizer"))
    names = {parameter: name for name, parameter in network.named_parameters()}
    penalised, free = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [2e-5, 0]
    kernels = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert penalised == {f"{name}.weight" for name in kernels - {"head"}}
    assert penalised | free == set(names.values())


@pytest.mark.parametrize("bundle", ["segnet", "pspnet", "deeplab_v3"])
def test_the_bundles_of_pytorchcv_ask_for_it(bundle):
    for file in ("train.yaml", "inference.yaml"):
        assert "require_without_dependencies, package: pytorchcv" in (
            (configs(bundle) / file).read_text()
        )


def test_without_pytorchcv_there_is_one_line(processes, simulated, tmp_path):
    code = "import sys, runpy; sys.modules['pytorchcv'] = None; "
    code += "sys.argv[0] = 'monai'; runpy.run_module('monai.bundle', run_name='__main__')"
    options = {"dataset_dir": simulated, "output_dir": tmp_path / "run"}
    options |= {"cache_dir": tmp_path / "cache", "size": 48}
    _, _, _, *arguments = bundle_command(BUNDLES / "pspnet", "train", options=options)
    done = processes.run("-c", code, *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: pytorchcv: not installed; run python -m pip install --no-deps" in done.stderr
