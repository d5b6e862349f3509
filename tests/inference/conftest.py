"""Two methods with tiny networks and random weights, as trainings would leave them."""

from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import find_bundle

TINY = {  # size is divisible by 6 (CPA's grid) and 16 (four poolings)
    "agmr_net": {"widths": [4, 8, 8, 8, 16], "size": 48, "batch_size": 4},
    "mscsa_default": {"widths": [4, 4, 8, 8, 8], "heads": 2, "patch_size": [16, 32, 32]},
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint in a run folder, for each method."""
    files = {}
    for name, settings in TINY.items():
        run = tmp_path_factory.mktemp(name)
        config = ConfigParser.load_config_files([find_bundle(name) / "configs" / "inference.yaml"])
        parser = ConfigParser(config | settings)
        torch.manual_seed(0)
        network = parser.get_parsed_content("network_def")
        files[name] = run / "checkpoints" / "last.pt"
        files[name].parent.mkdir()
        torch.save({"network": network.state_dict()}, files[name])
        about = {"bundle": name, "overlay": "default", "dataset_dir": "/nowhere", **settings}
        (run / "config.yaml").write_text(yaml.safe_dump(about))
    return files
