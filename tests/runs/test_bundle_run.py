"""The short and the long form of a bundle's steps are one run."""

from pathlib import Path

import pytest
from fire.parser import DefaultParseValue

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.errors import UsageError
from stroke_nets.runs.bundle_run import as_text, config_files, read_settings, run_bundle

TEXTS = ["data/x y", "2024", "1e3", "None", "true", "a#b", "[a]", "{'a': 1}", "a,b", "it's", "$@x"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_path_stays_a_text_on_the_command_line(text):
    assert DefaultParseValue(as_text(text)) == text
    assert DefaultParseValue(as_text(Path(text))) == text


@pytest.mark.parametrize("value", [True, 0, -1, 0.5, [1, 2], ["a", "b"], {"a": [1, "b"]}])
def test_a_value_comes_back_as_it_was(value):
    assert DefaultParseValue(as_text(value)) == value


def test_nothing_is_the_word_that_the_bundles_read():
    assert as_text(None) == "null"  # MONAI drops None


def test_settings_are_read_as_monai_reads_options():
    texts = ["fold=1", "widths=[4,8]", "manifest=a=b.json", "amp=true", "sampler#num_samples=8"]
    assert read_settings(texts) == {
        "fold": 1,
        "widths": [4, 8],
        "manifest": "a=b.json",
        "amp": "true",
        "sampler#num_samples": 8,
    }


def test_overlays_lie_over_the_steps_file_in_their_order():
    files = config_files(find_bundle("agmr_net"), "infer", ["table05_cff", "default", "demo"])
    assert [Path(file).stem for file in files] == ["inference", "table05_cff", "demo"]


def test_a_mistyped_option_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean max_epochs"):
        run_bundle(find_bundle("unet"), "train", options={"max_epoch": 1})
    assert list(tmp_path.iterdir()) == []
