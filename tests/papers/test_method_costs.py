"""What the methods cost."""

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.papers import method_costs
from stroke_nets.runs.bundle_run import config_files


def narrow(bundle, **options):
    config = ConfigParser()
    config.read_config(config_files(find_bundle(bundle), "train"))
    for key, value in options.items():
        config[key] = value
    return config


def test_a_slice_is_counted_by_hand():
    config = narrow("unet", size=32, offsets=[0])
    config["network_def"] = {
        "_target_": "torch.nn.Conv2d",
        "in_channels": 1,
        "out_channels": 8,
        "kernel_size": 3,
        "padding": 1,
    }
    cost = method_costs.cost_of(config)
    assert (cost["Sample"], cost["Parameters"]) == ("1 x 32 x 32", 8 * 9 + 8)
    assert cost["GFLOP"] == pytest.approx(2 * 32 * 32 * 9 * 8 / 1e9, abs=5e-3)
    assert cost["Seconds"] > 0


def test_a_table_has_every_method_that_trains_and_names_the_device(tmp_path, monkeypatch):
    tiny = {"Sample": "4 x 8 x 8", "Parameters": 1234, "GFLOP": 1.5, "Seconds": 0.25}
    monkeypatch.setattr(method_costs, "cost_of", lambda config: tiny)
    page, csv = method_costs.write_costs(tmp_path)
    table = pd.read_csv(csv)
    assert len(table) == 16
    assert {"agmr_net", "mscsa_res_unet"} < set(table["Method"])
    assert "mscsa_ensemble" not in set(table["Method"])
    text = page.read_text()
    assert "| agmr_net | 4 x 8 x 8 | 1,234 | 1.5 | 0.25 |\n" in text
    assert f"{torch.get_num_threads()} thread(s)" in text or torch.cuda.is_available()
