"""What tests share: a simulated data set of a few thousand voxels, and a table's cells to fill."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stroke_nets import synthesis as simulate
from stroke_nets.datasets import manifest

PLAIN = simulate.Design(plain=True)  # quick to make, brain only
OUTCOMES = Path(__file__).parents[1] / "docs" / "monai_outcomes.json"
STEP = (4, 4, 16)  # keeps every 4th, 4th and 16th voxel: 50 x 59 x 12 voxels of 4 x 4 x 16 mm


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """Four simulated patients as BIDS, with a manifest of two folds."""
    root = tmp_path_factory.mktemp("simulated")
    affine = simulate.template().affine @ np.diag([*STEP, 1])
    thin = tuple(slice(None, None, step) for step in STEP)
    for index in range(1, 5):
        folder = root / f"sub-{index}" / "anat"
        folder.mkdir(parents=True)
        patient = simulate.simulate_patient(0, index, PLAIN)
        for name, voxels in zip(("T1w", "mask"), patient, strict=True):
            nib.save(nib.Nifti1Image(voxels[thin], affine), folder / f"sub-{index}_{name}.nii.gz")
    manifest.from_folder(
        root, image="**/*_T1w.nii.gz", label="_mask.nii.gz", out=root / "manifest.json", folds=2
    )
    return root


def pytest_addoption(parser):
    parser.addoption(
        "--record-outcomes", action="store_true", help="write the cells of docs/monai.md's table"
    )


@pytest.fixture
def record_outcome(request):
    """This test speaks for a cell of the table in docs/monai.md: `record(bundle, column)`.

    Call it before what may fail. A test that shows why there is no tick gives the `reason`.
    Written with `--record-outcomes` only; columns and the page: docs/monai_table.py.
    """

    def record(bundle, column, reason="passed"):
        request.node.user_properties.append(("monai_cell", (bundle, column, reason)))

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    cells = [value for name, value in item.user_properties if name == "monai_cell"]
    if cells and call.when == "call" and item.config.getoption("--record-outcomes"):
        outcomes = json.loads(OUTCOMES.read_text())
        for bundle, column, reason in cells:
            cell = {"outcome": reason if report.passed else "failed", "test": item.nodeid}
            outcomes.setdefault(bundle, {})[column] = cell
        OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    return report
