import pytest

from stroke_nets.bundle_folders import bundle_names, bundles_root, find_bundle
from stroke_nets.errors import UsageError


def test_finds_bundles_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_bundle("agmr_net") == bundles_root() / "agmr_net"
    assert len(bundle_names()) == 17
    assert not any(name.startswith("_") for name in bundle_names())


def test_mistyped_name_gets_a_hint():
    with pytest.raises(UsageError, match=r"bundle agmrnet: .*did you mean agmr_net\?"):
        find_bundle("agmrnet")


def test_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKE_NETS_BUNDLES", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="STROKE_NETS_BUNDLES"):
        bundle_names()
