from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose, SaveImaged

from stroke_nets.datasets import manifest
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.case_by_case import predict_each, require_new_masks
from stroke_nets.scans.writer import HeaderWriter
from stroke_nets.transforms.load_scan import LoadScand

NAMES = ("a/scan", "b/scan", "c/scan", "d/scan")
pytestmark = pytest.mark.filterwarnings("default")  # MONAI and Ignite warn about their own calls


class Network(torch.nn.Module):
    """Takes scans as they are; fails at one."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        if self.error is not None and x.max() > 50:
            raise self.error
        return x


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        path = tmp_path / "data" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        voxels = np.arange(27, dtype=np.int16).reshape(3, 3, 3) + 20 * number
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return tmp_path / "data"


def predict(root, error=None):
    """Predict all scans; return how often the network ran."""
    cases = manifest.datalist(str(root), "heldout")
    dataset = Dataset(cases, Compose([LoadScand("image")]))
    save = SaveImaged(
        "pred", output_dir=str(root.parent / "out"), output_postfix="pred",
        data_root_dir=str(root), separate_folder=False, resample=False, writer=HeaderWriter,
        print_log=False,
    )  # fmt: skip
    network = Network(error)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset),
        network=network,
        inferer=SimpleInferer(),
        postprocessing=Compose([save]),
    )
    require_new_masks(cases, str(root.parent / "out"))
    predict_each(evaluator, dataset)
    return network.runs


def masks(root):
    out = root.parent / "out"
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))


def test_D8_masks_of_one_name_mirror_the_tree_and_are_never_overwritten(root):
    assert predict(root) == len(NAMES)
    assert masks(root) == [f"{name}_pred.nii.gz" for name in NAMES]
    maxima = [nib.load(root.parent / "out" / name).get_fdata().max() for name in masks(root)]
    assert maxima == [26, 46, 66, 86]
    cases = manifest.datalist(str(root), "heldout")
    with pytest.raises(
        UsageError, match=r"a/scan_pred\.nii\.gz: is there already \(4 of 4 masks\)"
    ):
        require_new_masks(cases, str(root.parent / "out"))
    require_new_masks(cases, str(root.parent / "out"), overwrite=True)
    twin = root / "a" / "scan.nii"
    twin.write_bytes((root / "a" / "scan.nii.gz").read_bytes())
    with pytest.raises(DataError, match="its mask would have the name"):
        require_new_masks(manifest.datalist(str(root), "heldout"), "elsewhere", overwrite=True)


def test_I3_a_bad_file_leaves_the_others(root, caplog):
    bad = root / "b" / "scan.nii.gz"
    bad.write_text("<html>")
    with pytest.raises(DataError) as raised:
        predict(root)
    first, *lines = str(raised.value).splitlines()
    assert first == "1 of 4 scans failed, 3 masks were written:"
    assert len(lines) == 1
    assert lines[0].startswith(f"{bad}: a web page")
    assert masks(root) == [f"{name}_pred.nii.gz" for name in (NAMES[0], *NAMES[2:])]
    assert lines[0] in caplog.messages  # at once, not only at the end


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.OutOfMemoryError("no memory\nadvice"), "failed (OutOfMemoryError: no memory)"),
        (RuntimeError("odd"), "failed (RuntimeError: odd)"),
    ],
)
def test_I3_a_scan_that_the_network_fails_at_leaves_the_others(root, error, line):
    with pytest.raises(DataError, match="2 of 4 scans failed, 2 masks were written") as raised:
        predict(root, error)
    assert str(raised.value).splitlines()[1:] == [
        f"{Path(root, name)}.nii.gz: {line}" for name in NAMES[2:]
    ]
    assert masks(root) == [f"{name}_pred.nii.gz" for name in NAMES[:2]]


@pytest.mark.parametrize("error", [UsageError("no such option"), KeyboardInterrupt()])
def test_what_concerns_all_scans_stops_at_once(root, error):
    with pytest.raises(type(error)):
        predict(root, error)
    assert masks(root) == [f"{name}_pred.nii.gz" for name in NAMES[:2]]
