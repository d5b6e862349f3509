"""Fuzzing with fixed seeds: whatever a file or option holds, errors are this package's own."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stroke_nets.bundle_folders import find_bundle
from stroke_nets.datasets import manifest
from stroke_nets.errors import StrokeNetsError
from stroke_nets.inference import outputs
from stroke_nets.pages.cohort import write_index
from stroke_nets.runs.options import RULES, read_options, require_possible
from stroke_nets.scans.check import check
from stroke_nets.scans.reader import read_scan

from ..scans import scans

pytestmark = pytest.mark.fuzz
FIXED = {"derandomize": True, "database": None, "deadline": None}
FIXED |= {"suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
OWN = contextlib.suppress(StrokeNetsError)
LEAF = st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAF,
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=6,
)
SIDECAR = {
    "Request": {},
    "Method": "unet",
    "Weights": [{"bundle": "unet"}],
    "Space": "native",
    "Threshold": 0.5,
    "MinimumSizeMl": 0.1,
    "Registration": {"resemblance": 0.9},
    "Files": {"mask": "sub-1_desc-unet_mask.nii.gz", "lesions": "sub-1_desc-unet_lesions.csv"},
    "Lesions": {"count": 0, "total_ml": 0.0, "largest_ml": 0.0},
    "Warnings": [],
}


def paths_of(content, path=()):
    """Every place in nested JSON."""
    yield path
    items = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        items = enumerate(content)
    for key, value in items:
        yield from paths_of(value, (*path, key))


def changed(content, path, value):
    """A copy with another value at a place; None at a key removes it."""
    copy = json.loads(json.dumps(content))
    if not path:
        return value
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    if value is None and isinstance(parent, dict):
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copy


@settings(max_examples=1500, **FIXED)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
def test_F17_any_header_is_read_or_refused(tmp_path, edits):
    path = scans.save(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    for place, byte in edits:
        content[place] = byte
    path.write_bytes(content)
    with OWN, np.errstate(all="ignore"):
        scan = read_scan(path)
        assert scan.voxels.ndim == 3
        assert np.isfinite(scan.grid.affine).all()
        assert np.linalg.det(scan.grid.affine[:3, :3]) != 0


@settings(max_examples=400, **FIXED)
@given(st.data())
def test_D5_any_manifest_is_read_or_refused(tmp_path, data):
    scans.save(tmp_path / "a_T1w.nii.gz")
    scans.save(tmp_path / "a_mask.nii.gz", scans.mask())
    record = manifest.describe(
        tmp_path, subject="a", image="a_T1w.nii.gz", label="a_mask.nii.gz", session="1"
    )
    whole = {"name": "x", "licence": "none", "provenance": {}, "records": [record | {"fold": 0}]}
    place = data.draw(st.sampled_from(list(paths_of(whole))))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(changed(whole, place, data.draw(JSON))))
    with OWN:
        check(path)
    with OWN:
        manifest.datalist(str(tmp_path), "all")


@settings(max_examples=400, **FIXED)
@given(st.data())
def test_D10_any_sidecar_is_read_or_refused(tmp_path, data):
    folder = tmp_path / "sub-1" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "sub-1_desc-unet"
    stem.with_name(f"{stem.name}_lesions.csv").write_text("lesion,volume_ml,hemisphere\n")
    stem.with_name(f"{stem.name}_report.html").touch()
    place = data.draw(st.sampled_from(list(paths_of(SIDECAR))))
    content = changed(SIDECAR, place, data.draw(JSON))
    stem.with_name(f"{stem.name}_mask.json").write_text(json.dumps(content))
    with OWN:
        outputs.write_summary(tmp_path, [])
        write_index(tmp_path)


@settings(max_examples=400, **FIXED)
@given(st.data())
def test_T19_any_option_is_taken_or_refused(data):
    file = str(find_bundle("unet") / "configs" / "train.yaml")
    name = data.draw(st.sampled_from([*RULES, "max_epoch", "network_def#x"]))
    value = data.draw(JSON)
    with OWN:
        read = read_options([file], {name: value})
        for key, taken in read.items():
            require_possible(key, taken)
