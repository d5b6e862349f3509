"""Rows T18 and T19: options that a bundle's configuration cannot take."""

import pytest
import torch
from monai.bundle.scripts import create_workflow

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.errors import UsageError
from stroke_nets.runs.exit_codes import find_error

pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


def command_line(file, **given):
    """What ``python -m monai.bundle run`` does before it runs, in this process."""
    path = str(find_bundle("d_unet") / "configs" / file)
    return create_workflow(config_file=path, logging_file=False, **given)


def error_line(file, **given):
    with pytest.raises(RuntimeError) as raised:
        command_line(file, **given)
    found = find_error(raised.value)
    assert isinstance(found, UsageError), raised.value
    return str(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_T18_cuda_without_a_gpu_is_one_line(file, simulated):
    found = error_line(file, dataset_dir=str(simulated), device="cuda")
    assert found == "device cuda: PyTorch sees 0 GPUs here; say --device cpu"


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml", "evaluate.yaml"])
def test_T19_mistyped_option_is_refused(file, simulated):
    found = error_line(file, dataset_dri=str(simulated))
    assert found.startswith(
        "--dataset_dri: no such option of this bundle; did you mean dataset_dir?"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_epoch": 1}, "did you mean max_epochs?"),
        ({"train#trianer": 1}, "did you mean trainer?"),
        ({"overwrite": "maybe"}, "--overwrite maybe: give true or false"),
        ({"max_epochs": "many"}, "--max_epochs many: give a number, as 150"),
        ({"max_epochs": True}, "give a number"),
        ({"widths": "4,8"}, "--widths 4,8: give a list, as '[32, 64"),
        ({"train#trainer#max_epochs": 1, "fold": "one"}, "--fold one: give a number, as 0"),
    ],
)
def test_T19_wrong_options_are_refused(option, said):
    assert said in error_line("train.yaml", **option)


def test_T19_a_mistyped_section_is_refused_by_monai():
    with pytest.raises(KeyError) as raised:
        command_line("train.yaml", **{"trian#trainer#max_epochs": 1})
    assert "did you mean 'train'?" in str(raised.value.__cause__)


def test_T19_words_become_what_they_say(simulated, volume_cache, tmp_path):
    given = {"dataset_dir": str(simulated), "cache_dir": str(volume_cache), "size": 48}
    given |= {"output_dir": str(tmp_path), "overwrite": "false", "amp": "FALSE"}
    given |= {"manifest": "null", "bundle_root": "x", "train#trainer#max_epochs": 1}
    parser = command_line("train.yaml", **given).parser
    assert [parser[key] for key in ("overwrite", "amp", "manifest")] == [False, False, None]
    assert parser.get_parsed_content("train#trainer").state.max_epochs == 1
