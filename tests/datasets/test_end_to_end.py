"""Each data set's twin, from its download to the evaluated network: prepare, check, train."""

import json

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.datasets import manifest
from stroke_nets.datasets.prepare import prepare
from stroke_nets.scans.check import check

from . import twins

TINY = {"widths": [4, 8, 8, 8, 16], "size": 48}  # divisible by 6 and 16, as the network asks
TRAINING = {"batch_size": 16, "max_epochs": 1, "val_interval": 1, "num_workers": 0}


@pytest.mark.parametrize("name", twins.MAKE)
@pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls
def test_from_download_to_scores(name, workflow, tmp_path):
    twins.MAKE[name](tmp_path / "source")
    out = tmp_path / "out"
    prepare(name, tmp_path / "source", out)
    assert check(out) == []
    where = {"dataset_dir": str(out), "output_dir": str(tmp_path / "run")}
    where |= {"reading": {"volume": 0, "binarize": True}}  # rules reach every loader
    cache = {"cache_dir": str(tmp_path / "cache")}
    workflow("agmr_net", "train", kind="train", **where, **TINY, **TRAINING, **cache).run()
    workflow("agmr_net", "inference", kind="infer", **where, **TINY, register=False).run()
    workflow("agmr_net", "evaluate", kind="infer", **where).run()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    held_out = manifest.datalist(str(out), "heldout")
    assert summary["n_cases"] == len(held_out) > 0
    for case in held_out:
        scan = nib.load(case["image"])
        ending = ".nii.gz" if case["image"].endswith("gz") else ".nii"
        stem = case["record"]["image"].removesuffix(ending)
        mask = nib.load(tmp_path / "run" / "predictions" / f"{stem}_pred.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)  # float32 header
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert mask.header[field] == scan.header[field]
