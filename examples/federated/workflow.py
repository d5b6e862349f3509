"""The trained bundle, at the widths of its demo."""

from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from stroke_nets.bundle_folders import bundles_root

CONFIGS = bundles_root() / "agmr_net" / "configs"  # NVFlare copies this file into its workspace
FILES = [str(CONFIGS / name) for name in ("train.yaml", "demo.yaml")]


def network() -> dict[str, Any]:
    """The network's class and arguments; the server initialises its weights."""
    parser = ConfigParser()
    parser.read_config(FILES)
    arguments = dict(parser.get_parsed_content("network_def", instantiate=False).get_config())
    return {"class_path": arguments.pop("_target_"), "args": arguments}


def training(**options: Any) -> ConfigWorkflow:
    """The bundle's training, as its ``train.yaml`` and ``demo.yaml`` define it."""
    return ConfigWorkflow(FILES, workflow_type="train", logging_file=False, **options)
