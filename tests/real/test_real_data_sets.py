"""The check and ``prepare`` on a few real patients."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.datasets.prepare import prepare
from stroke_nets.scans.check import check
from stroke_nets.scans.reader import open_scan

DATA = os.environ.get("STROKE_NETS_REAL_DATA", "")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not Path(DATA, "isles22").is_dir(), reason="STROKE_NETS_REAL_DATA names no folder isles22/"
    ),
]


@pytest.mark.parametrize("folder", ["arc", "isles22", "soop_masks"])
def test_real_scans_pass(folder):
    if not Path(DATA, folder).is_dir():
        pytest.skip(f"STROKE_NETS_REAL_DATA names no folder {folder}/")
    assert check(Path(DATA, folder)) == []


def test_real_scans_are_read_as_nibabel_reads_them():
    for path in Path(DATA).glob("[ai]*/**/*.nii.gz"):
        expected, found = nib.load(path), open_scan(path)
        np.testing.assert_array_equal(expected.dataobj, found.dataobj)
        np.testing.assert_array_equal(expected.affine, found.affine)


def test_isles_2022_is_prepared(tmp_path):
    result = prepare("isles2022", Path(DATA, "isles22"), tmp_path / "out")
    volumes = [r["lesion_ml"] for r in result.records]
    assert volumes == pytest.approx([6.7, 0.9, 2.3, 4.2], abs=0.1)  # described to 0.1 ml
    assert check(tmp_path / "out") == []
