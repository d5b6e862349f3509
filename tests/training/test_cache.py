import multiprocessing
import os
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Lambdad, NormalizeIntensityd, Orientationd

from stroke_nets.errors import DataError, UsageError
from stroke_nets.training import cache
from stroke_nets.training.cache import VolumeCache, settings


def scale(image, factor=1.0):
    return image * factor


class Reads:
    """Makes an array of a file's bytes and counts how often."""

    def __init__(self, source):
        self.source, self.calls = source, 0

    def __call__(self):
        self.calls += 1
        return {"image": np.frombuffer(self.source.read_bytes(), np.uint8).astype(np.float32)}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "scan"
    path.write_bytes(bytes(range(200)))
    return path


def get(source, transform=scale, folder="cache"):
    """What a new process would get, and how often it read the source."""
    reads = Reads(source)
    arrays = VolumeCache(source.parent / folder, transform).get([source], reads)
    assert list(arrays["image"]) == list(source.read_bytes())
    assert isinstance(arrays["image"], np.memmap)
    return reads.calls


def entries(source):
    return sorted((source.parent / "cache").iterdir())


def test_a_source_is_read_once(source):
    assert [get(source) for _ in range(3)] == [1, 0, 0]
    assert source.parent.joinpath("cache").stat().st_mode & 0o777 == 0o700


def test_T12_a_changed_source_is_read_again_whatever_its_time(source):
    get(source)
    before = source.stat()
    source.write_bytes(source.read_bytes()[::-1])  # as many bytes
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert get(source) == 1


def test_T13_a_changed_transform_is_another_entry(source, monkeypatch):
    def transforms(mode=(1, 2), image=(1, 1, 1), function=lambda p: p > 1):
        inner = Compose([NormalizeIntensityd("image", nonzero=True), Lambdad("label", function)])
        return Compose([inner, partial(scale, factor=mode), np.diag(image)])

    assert get(source, transforms()) == 1
    assert get(source, transforms(function=lambda p: p > 1)) == 0
    assert get(source, transforms(mode=(1, 3))) == 1
    assert get(source, transforms(image=(1, 1, 2))) == 1
    assert get(source, transforms(function=lambda p: p > 2)) == 1
    assert get(source, transforms(function=lambda p, least=3: p > least)) == 1
    assert get(source, transforms(function=lambda p, least=4: p > least)) == 1
    for least in (5, 6):  # as MONAI makes a lambda that refers to another setting
        parser = ConfigParser({"least": least, "above": "$lambda p: p > @least"})
        assert get(source, transforms(function=parser.get_parsed_content("above"))) == 1
    monkeypatch.setattr(cache, "_code", lambda: "other code")
    assert get(source, transforms()) == 1
    monkeypatch.setattr(cache.stroke_nets, "__version__", "9.9")
    assert get(source, transforms()) == 1


def test_settings_stay_when_a_transform_is_used():
    transform = Compose([Orientationd("image", "RAS", labels=None)])
    before = settings(transform)
    transform({"image": MetaTensor(torch.zeros(1, 2, 2, 2))})
    assert settings(transform) == before


def test_settings_know_no_seed_and_no_address():
    def transform():
        return Compose([Orientationd("image", axcodes="RAS", labels=None), torch.abs, scale])

    first, second = transform(), transform()
    second.set_random_state(seed=7)
    assert settings(first) == settings(second)
    assert " at 0x" not in settings(first)


@pytest.mark.parametrize("name", ["image.npy", "entry.json"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "missing"])
def test_T14_a_damaged_entry_is_made_again(source, name, damage):
    get(source)
    file = entries(source)[0] / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    assert [get(source), get(source)] == [1, 0]
    assert len(entries(source)) == 1


def test_X1_an_array_that_holds_a_pickle_is_made_again(source, tmp_path):
    get(source)
    entry = entries(source)[0]
    np.save(entry / "image.npy", np.array([Path], dtype=object), allow_pickle=True)  # hostile
    sums = f'{{"image": "{cache.sha256(entry / "image.npy")}"}}'
    (entry / "entry.json").write_text(sums)
    assert get(source) == 1


def _in_a_process(folder, source, gate, results):
    gate.wait(60)
    results.put(get(source, folder=folder))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children use no threads
def test_T15_three_processes_share_a_cache(source):
    fork = multiprocessing.get_context("fork")
    gate, results = fork.Barrier(3), fork.Queue()
    work = partial(_in_a_process, "cache", source, gate, results)
    workers = [fork.Process(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    calls = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert max(calls) == 1
    assert len(entries(source)) == 1
    assert get(source) == 0


def test_an_entry_that_another_process_made_meanwhile_is_kept(source):
    store = VolumeCache(source.parent / "cache", scale)

    def slow():
        get(source)
        return Reads(source)()

    arrays = store.get([source], slow)
    assert list(arrays["image"]) == list(source.read_bytes())
    assert len(entries(source)) == 1


def test_what_a_killed_process_left_is_swept_after_a_day(source):
    get(source)
    for name, age in {".new.tmp": 0, ".old.tmp": 2 * cache.DAY}.items():
        left = source.parent / "cache" / name
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    (source.parent / "cache" / ".gone.tmp").symlink_to("finished")  # by another process meanwhile
    get(source)
    assert [path.name for path in entries(source)][:-1] == [".gone.tmp", ".new.tmp"]


@pytest.mark.parametrize("size", [0, 100_000])
def test_T2_a_full_disk_says_how_much_the_cache_needs(source, full_disk, size):
    volume = np.zeros((100, 100, 100), np.float32)
    volumes = VolumeCache(source.parent / "cache", scale)
    message = r"the disk is full: 4\.0 MB are needed .* are free; make room or give another"
    with full_disk(size), pytest.raises(DataError, match=message):
        volumes.get([source], lambda: {"image": volume})
    assert entries(source) == []


def test_T2_an_array_that_numpy_would_cut_in_silence_is_refused(source, full_disk):
    wanted = r"the disk is full: \d+\.\d MB are needed .* are free"
    with full_disk(200), pytest.raises(DataError, match=wanted):
        get(source)
    assert entries(source) == []


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    def not_the_owner(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", not_the_owner)
    with pytest.raises(UsageError, match=r"cache_dir .*: belongs to another user"):
        VolumeCache(tmp_path / "cache", scale)
    shutil.rmtree(tmp_path / "cache")
