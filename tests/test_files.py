import tempfile

import pytest

from stroke_nets import files
from stroke_nets.files import paths_below, temporary_folder, whole, write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "é\n")

    def stopped():
        with whole(path) as partial:
            partial.write_text("half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stopped()
    assert path.read_text(encoding="utf-8") == "é\n"
    assert list(tmp_path.iterdir()) == [path]


def test_linked_folders_are_entered_once(tmp_path):
    for name in ("tree/sub-1/a.txt", "elsewhere/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    tree = tmp_path / "tree"
    (tree / "sub-2").symlink_to(tmp_path / "elsewhere")
    (tree / "sub-1" / "above").symlink_to(tree)  # a circle
    found = [path.relative_to(tree).as_posix() for path in paths_below(tree)]
    assert found == ["sub-1", "sub-1/a.txt", "sub-1/above", "sub-2", "sub-2/b.txt"]


def test_S6_temporary_folders_of_killed_processes_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (f"{files.TEMPORARY}killed", ".partial_of another program", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.nii").write_text("voxels")
    with temporary_folder() as first, temporary_folder() as second:
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {first.name, second.name, ".partial_of another program", "other"}
    assert {path.name for path in tmp_path.iterdir()} == {".partial_of another program", "other"}
