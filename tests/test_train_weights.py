"""How ``examples/train_weights.py`` trains, and what it writes into model cards."""

import runpy
import subprocess
from pathlib import Path

import pytest
import torch
from fire.parser import DefaultParseValue

from stroke_nets.runs.bundle_run import config_files
from stroke_nets.runs.options import read_options

ROOT = Path(__file__).parents[1]
CARD = "before\n<!-- measured: {} -->\n\n<!-- end -->\n"
FOUND = {
    "patients": 60,
    "dice": 0.5,
    "dice_10_ml_and_more": 0.75,
    "lesions_found": {"0 to 1 ml": [1, 9], "1 to 10 ml": [2, 8], "10 to 1000 ml": [6, 7]},
    "false_lesions_a_patient": 0.25,
    "false_ml_in_healthy": [0.0, 1.0, 5.0],
    "volume_error_10_ml_and_more": {"median": -0.1, "limits_of_agreement": [-0.5, 0.3]},
    "calibration_error": 0.1,
    "calibration_error_before": 0.2,
}
CHOSEN = {"threshold": 0.4, "minimum_ml": 0.5}
SIMULATED = CHOSEN | FOUND
RATIOS = {"volume_ratio": [{"from_ml": 10.0, "patients": 20, "ratio": [0.25, 2.0]}]}
REAL = {
    "dice": 0.7,
    "truth_ml": 100.0,
    "predicted_ml": 110.0,
    "dice_with_the_plain_scan": {"turned": 0.95, "in other units": 1.0},
    "false_ml_in_healthy_heads": {"head.nii.gz": 0.25},
}


@pytest.fixture(scope="module")
def program():
    return runpy.run_path(str(ROOT / "examples" / "train_weights.py"))


def rows(table):
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert len({len(line) for line in lines}) == 1
    return {first.strip("| -"): rest for first, *rest in lines}


def test_the_table_tells_what_was_measured_and_the_goal(program):
    table = rows(program["measured_table"]("whole_brain", SIMULATED | RATIOS, REAL))
    found = table["found: 10 ml and more, 1 to 10 ml, below"]
    assert found == ["6 of 7, 2 of 8, 1 of 9", "-, 75 %, 40 % |"]
    calibration = next(cells for name, cells in table.items() if "calibration" in name)
    assert calibration[0] == "0.10; 0.20"
    assert table["ARC sub-M2051, native scan to native mask: Dice"][0] == "0.700"
    assert table["volume, where the expert's mask has 100 ml"][0] == "110 ml (+10%)"
    assert table["false ml in real heads without a lesion: head"][0] == "0.2"


def test_diffusion_has_a_column_for_each_way(program):
    alone = FOUND | {"dice": 0.4}
    table = rows(
        program["measured_table"]("diffusion", SIMULATED | RATIOS | {"dwi_alone": alone}, None)
    )
    dice = next(cells for name, cells in table.items() if "mean Dice" in name)
    assert dice == ["0.500; 0.750", "0.400; 0.750", "0.60 |"]


def test_a_table_takes_the_place_between_its_own_marks(program):
    card = CARD.format("a") + CARD.format("b")
    once = program["with_table"](card, "b", "one")
    assert program["with_table"](once, "b", "two") == CARD.format("a") + CARD.format("b").replace(
        "\n\n", "\ntwo\n"
    )
    with pytest.raises(SystemExit, match="the card has no place for the table"):
        program["with_table"](card, "c", "one")


@pytest.mark.parametrize(
    "weights", ["mscsa_default:whole_brain", "mscsa_default:diffusion", "agmr_net:whole_brain"]
)
def test_each_stage_starts_from_the_end_of_the_one_before(program, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []

    def run(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    bundle, overlay = weights.split(":")
    program["train"](bundle, overlay, Path("sources"), ["num_workers=0"])
    options = [dict(zip(c[5::2], c[6::2], strict=True)) for c in commands]
    folder = Path("runs") / bundle / overlay
    outputs = [Path(one["--output_dir"]) for one in options]
    assert outputs == [*(folder / f"stage{i}" for i in range(1, len(outputs))), folder / "fold0"]
    starts = [one.get("--start") for one in options]
    assert starts[1:] == [str(one / "checkpoints/last.pt") for one in outputs[:-1]]
    assert Path(starts[0]).is_file() if overlay == "diffusion" else starts[0] is None
    files = config_files(ROOT / "bundles" / bundle, "train", ["whole_brain_train", overlay])
    for one in options:
        del one["--config_file"]
        given = {key.removeprefix("--"): DefaultParseValue(word) for key, word in one.items()}
        assert read_options(files, given)["num_workers"] == 0


def test_diffusion_starts_as_the_network_for_t1w_of_an_image_dark_where_dwi_is_bright(program):
    torch.manual_seed(0)
    weight, image, mirrored = torch.randn(8, 2, 3, 3, 3), *torch.randn(2, 1, 1, 5, 5, 5)
    converted = program["for_diffusion"]({program["FIRST"]: weight})[program["FIRST"]]
    t1w = torch.conv3d(torch.cat([image, mirrored], 1), weight)
    diffusion = torch.conv3d(torch.cat([-image, image, -mirrored, mirrored], 1), converted)
    torch.testing.assert_close(diffusion, t1w)
