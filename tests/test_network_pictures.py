import runpy
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from stroke_nets.bundle_folders import bundle_names, find_bundle
from stroke_nets.runs.bundle_run import config_files

ROOT = Path(__file__).parents[1]
PICTURES = runpy.run_path(str(ROOT / "docs" / "network_pictures.py"))
TRAINED = [n for n in bundle_names() if (find_bundle(n) / "configs" / "train.yaml").is_file()]


def parts(bundle):
    config = ConfigParser()
    config.read_config(config_files(find_bundle(bundle), "train"))
    return PICTURES["parts_of"](*PICTURES["network_of"](config))


@pytest.mark.parametrize("bundle", TRAINED)
def test_the_picture_shows_every_part_with_its_shape(bundle):
    drawn = (find_bundle(bundle) / "docs" / "network.svg").read_text()
    for part in parts(bundle):
        shape = f"{part.shape[0]} | {' x '.join(map(str, part.shape[1:]))}"
        for text in (PICTURES["_short"](part.name), shape):
            assert f">{text}<" in drawn, "run: python docs/network_pictures.py"


def test_lines_follow_the_data():
    found = {part.name: part.sources for part in parts("agmr_net")}
    assert found["fusion2"] == {"stage2", "volume_encoder"}
    assert found["decoder3"] == {"decoder4", "fusion3"}
    assert found["stage1"] == set()  # the image
