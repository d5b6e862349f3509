"""The bundle on a few real patients: it can learn a real scan. Never evidence of accuracy."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("STROKE_NETS_REAL_DATA", "")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not Path(DATA, "arc").is_dir(), reason="STROKE_NETS_REAL_DATA names no folder with arc/"
    ),
]


def smoke(*arguments):
    command = [sys.executable, str(ROOT / "examples" / "real_patients.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_real_t1_can_be_learnt(tmp_path):
    smoke("arc", DATA, tmp_path)
    case = pd.read_csv(tmp_path / "arc" / "fold0" / "cases.csv").iloc[0]
    assert case["dice"] >= 0.85
    scan = nib.load(Path(DATA, case["image"]))
    mask = nib.load(tmp_path / "arc" / "fold0" / case["prediction"])
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)  # float32 header
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[field] == scan.header[field]


def test_leave_one_out_on_diffusion_gives_a_table(tmp_path):
    smoke("isles22", DATA, tmp_path, "max_epochs=1", "sampler#num_samples=80")
    table = pd.read_csv(tmp_path / "isles22" / "table.csv")
    assert len(table) == table["subject"].nunique() == 4
    assert table["dice"].between(0, 1).all()
