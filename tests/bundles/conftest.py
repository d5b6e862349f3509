"""Sizes at which any bundle runs in a moment."""

import pytest
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import find_bundle


@pytest.fixture(scope="session")
def narrow():
    """A function: the least widths that a bundle's network takes, and the shape of an image."""

    def sizes(bundle):
        path = find_bundle(bundle) / "configs" / "inference.yaml"
        config = ConfigParser.load_config_file(str(path))
        if "patch_size" in config:
            least = {"widths": [4, 8, 8], "heads": 2, "res_heads": 2, "blocks": [1, 1, 1]}
            return {k: v for k, v in least.items() if k in config}, (1, 1, 16, 16, 16)
        widths = [16, 16, 32, 32] if "resnet" in config else [4, 8, 8, 8, 16]
        return {"widths": widths}, (1, 4, 48, 48)

    return sizes
