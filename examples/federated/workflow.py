"""The bundle that is trained, at the widths of its demo."""

from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

from stroke_nets.bundle_folders import bundles_root

CONFIGS = bundles_root() / "agmr_net" / "configs"  # NVFlare copies this file into its workspace
FILES = [str(CONFIGS / name) for name in ("train.yaml", "demo.yaml")]


def bundle_network() -> nn.Module:
    """The network alone, its weights drawn anew."""
    parser = ConfigParser()
    parser.read_config(FILES)
    network: nn.Module = parser.get_parsed_content("network_def")
    return network


def bundle_training(**options: Any) -> ConfigWorkflow:
    """The bundle's training, as its ``train.yaml`` and ``demo.yaml`` define it."""
    return ConfigWorkflow(FILES, workflow_type="train", logging_file=False, **options)
