import csv
import json

import nibabel as nib
import numpy as np
import pytest

import stroke_nets
from stroke_nets.cli import app
from stroke_nets.errors import UsageError
from stroke_nets.inference import pipeline
from stroke_nets.inference.inputs import ScanFile, of_participants
from stroke_nets.pages import group
from stroke_nets.pages.group import write_group
from stroke_nets.registration.volume import Volume


def scans(*stems):
    return [ScanFile(None, "", stem) for stem in stems]


TREE = scans("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-03")


@pytest.mark.parametrize(
    ("participants", "sessions", "stems"),
    [
        ((), (), ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-03"]),
        (["01", "sub-03"], (), ["sub-01_ses-1", "sub-01_ses-2", "sub-03"]),
        ((), ["1"], ["sub-01_ses-1", "sub-02_ses-1"]),
        (["01"], ["ses-2"], ["sub-01_ses-2"]),
    ],
)
def test_labels_choose_the_scans(participants, sessions, stems):
    assert [one.stem for one in of_participants(TREE, participants, sessions)] == stems


def test_a_label_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="--participant-label sub-1: no T1w scan has it"):
        of_participants(TREE, ["1"], ())
    with pytest.raises(UsageError, match="no participant has a T1w scan of such a session"):
        of_participants(TREE, ["02"], ["2"])


def call(*args):
    app(args=list(args), standalone_mode=False)


def test_a_label_option_takes_several_values(tmp_path, monkeypatch):
    (tmp_path / "dataset_description.json").write_text("{}")
    asked = {}

    def segment(given, out, **how):
        asked.update(how)
        return {"cases": [], "notice": ""}

    monkeypatch.setattr(pipeline, "predict", segment)
    labels = ["--participant-label", "01", "02", "--session-label", "a", "--nprocs", "1"]
    call("bids", str(tmp_path), str(tmp_path / "out"), "participant", *labels)
    assert (asked["participants"], asked["sessions"]) == (["01", "02"], ["a"])


def test_another_folder_is_no_bids_data_set(tmp_path):
    with pytest.raises(UsageError, match=r"no dataset_description\.json"):
        call("bids", str(tmp_path), str(tmp_path / "out"), "participant")


def test_group_level_writes_one_row_for_each_session(runs, simulated, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="run the level 'participant' first"):
        write_group(out)
    image = nib.load(next(simulated.glob("sub-1/**/*_T1w.nii.gz")))
    for session in (1, 2):
        folder = tmp_path / "raw" / "sub-1" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        voxels = np.asarray(image.dataobj) * session
        nib.save(nib.Nifti1Image(voxels, image.affine), folder / f"sub-1_ses-{session}_T1w.nii.gz")
    given = {"checkpoint": runs["agmr_net"], "method": "agmr_net", "skip_registration": True}
    stroke_nets.predict(tmp_path / "raw", out, sessions=["1"], **given)
    assert [p.name for p in sorted(out.glob("sub-1/ses-*"))] == ["ses-1"]
    stroke_nets.predict(tmp_path / "raw", out, **given)
    template = Volume(np.zeros(image.shape, np.float32), image.affine)
    monkeypatch.setattr(group, "brain", lambda: template)  # simulated scans have a grid of 4 mm
    atlas, labels = tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv"
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), atlas)
    labels.write_text("index\tname\n1\tthe whole brain\n")
    lesions, changed, regions = write_group(out, (atlas, labels))
    with lesions.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    ids = [(row["participant_id"], row["session_id"]) for row in rows]
    assert ids == [("sub-1", "ses-1"), ("sub-1", "ses-2")]
    sidecar = next(out.glob("sub-1/ses-2/anat/*_mask.json"))
    total = json.loads(sidecar.read_text())["Lesions"]["total_ml"]
    assert float(rows[1]["total_ml"]) == pytest.approx(total, abs=1e-3)
    assert rows[0]["interval_low_ml"] == "n/a"
    with regions.open(newline="") as file:
        whole = list(csv.DictReader(file, delimiter="\t"))
    assert [(r["session_id"], r["region"]) for r in whole] == [
        (f"ses-{n}", "the whole brain") for n in (1, 2)
    ]
    assert float(whole[1]["lesion_ml"]) == pytest.approx(total, abs=1e-3)
    with changed.open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    sessions = (row["participant_id"], row["session_before"], row["session_after"])
    assert sessions == ("sub-1", "ses-1", "ses-2")
    volumes = {name: float(row[name]) for name in row if name.endswith("_ml")}
    assert volumes["after_ml"] == pytest.approx(total, abs=1e-3)
    gained = volumes["new_ml"] + volumes["gained_ml"] - volumes["gone_ml"] - volumes["lost_ml"]
    assert volumes["before_ml"] + gained == pytest.approx(volumes["after_ml"], abs=1e-3)
