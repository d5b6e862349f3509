"""The archive: reproducible, verified before a byte is written, and never outside its folder."""

import stat
import zipfile
from hashlib import sha256

import pytest
from typer.testing import CliRunner

from stroke_nets.cli import app
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import inspect_bundle
from stroke_nets.packing.archive import (
    LARGEST_SUMS,
    SUMS,
    file_sha256,
    unpack,
    write_archive,
    write_sums,
)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made" / "bundle"
    (made / "configs").mkdir(parents=True)
    (made / "configs" / "train.json").write_text("{}\n")
    (made / "LICENSE").write_text("Apache\n")
    write_sums(made)
    return made


@pytest.fixture
def archive(folder, tmp_path):
    write_archive(folder, tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip"


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_unpacking_gives_the_folder_back(folder, archive, tmp_path):
    done = CliRunner().invoke(app, ["unpack", str(archive), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "out" / "bundle") == contents(folder)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bundle"]


def test_equal_files_give_equal_bytes(folder, archive, tmp_path):
    for file in folder.rglob("*.json"):
        file.touch()
        file.chmod(0o600)
    write_archive(folder, tmp_path / "again.zip")
    assert file_sha256(tmp_path / "again.zip") == file_sha256(archive)


def rewritten(archive, change):
    """A copy of an archive whose entries a function has changed: {name: bytes}."""
    with zipfile.ZipFile(archive) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    change(entries)
    new = archive.with_name("new.zip")
    with zipfile.ZipFile(new, "w") as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return new


def listed(entries, name, content=b"x"):
    """Add a file, and list it: the list alone does not make a path safe."""
    entries[name] = content
    line = f"{sha256(content).hexdigest()}  {name.removeprefix('bundle/')}\n"
    entries[f"bundle/{SUMS}"] += line.encode()


CHANGES = {
    "changed": (lambda e: e.update({"bundle/LICENSE": b"other"}), "LICENSE is damaged or changed"),
    "extra": (lambda e: e.update({"bundle/extra.py": b"x"}), "extra.py is not listed"),
    "missing": (lambda e: e.pop("bundle/LICENSE"), "LICENSE is missing"),
    "no list": (lambda e: e.pop(f"bundle/{SUMS}"), f"has no {SUMS}"),
    "two folders": (lambda e: listed(e, "other/file"), "no single folder"),
    "up": (lambda e: listed(e, "bundle/../../up"), "no plain file inside"),
    "root": (lambda e: listed(e, "/etc/passwd"), "no plain file inside"),
    "loose": (lambda e: listed(e, "loose"), "no plain file inside"),
    "backslash": (lambda e: listed(e, "bundle\\..\\up"), "no plain file inside"),
    "drive": (lambda e: listed(e, "bundle/C:/up"), "no plain file inside"),
    "folder": (lambda e: e.update({"bundle/configs/": b""}), "no plain file inside"),
    "empty": (lambda e: e.clear(), "no single folder"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_is_not_as_listed_is_refused_and_nothing_is_written(archive, tmp_path, name):
    change, message = CHANGES[name]
    with pytest.raises(DataError, match=message) as raised:
        unpack(rewritten(archive, change), tmp_path / "out")
    assert str(raised.value).startswith(str(tmp_path / "new.zip"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "up").exists()


def test_a_link_is_refused(archive, tmp_path):
    link = zipfile.ZipInfo("bundle/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="no plain file inside"):
        unpack(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("bundle/LICENSE", "other")
    with pytest.raises(DataError, match="a file twice"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_archive_is_refused(archive, tmp_path, share):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="damaged or no zip"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_is_found(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[content.index(b"Apache")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"LICENSE|damaged"):
        unpack(archive, tmp_path / "out")


def test_another_archive_than_the_published_one_is_refused(archive, tmp_path):
    with pytest.raises(DataError, match="its SHA-256 is"):
        unpack(archive, tmp_path / "out", "0" * 64)
    assert unpack(archive, tmp_path / "out", file_sha256(archive).upper()).is_dir()


def test_nothing_is_overwritten(archive, tmp_path):
    (tmp_path / "out" / "bundle").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out" / "bundle").iterdir()) == []


def test_a_missing_archive_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"none\.zip: no such file"):
        unpack(tmp_path / "none.zip", tmp_path)


def test_X1_compressed_files_are_refused_before_they_are_read(archive, tmp_path):
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bundle/models/zeros.bin", bytes(10_000_000))
    with pytest.raises(DataError, match=r"bundle\.zip: its files are compressed or overlap"):
        unpack(archive, tmp_path / "out")
    with pytest.raises(DataError, match=r"bundle\.zip: announces 4 files of 10 MB"):
        inspect_bundle(archive)


def test_X1_a_list_of_any_size_is_not_read(folder, tmp_path):
    with (folder / SUMS).open("a") as stream:
        stream.write("x" * LARGEST_SUMS)
    write_archive(folder, tmp_path / "bundle.zip")
    with pytest.raises(DataError, match=r"its SHA256SUMS is no list"):
        unpack(tmp_path / "bundle.zip", tmp_path / "out")
