"""Rows P1 to P5: what may tell who a patient is."""

import json
import struct
import sys

import nibabel as nib
import numpy as np
import pytest

from stroke_nets.cli import main
from stroke_nets.scans.check import check
from stroke_nets.scans.phi import find_personal

from . import scans


def rows(path):
    return [(finding.row, finding.what) for finding in find_personal(path)]


@pytest.mark.parametrize("field", ["descrip", "db_name", "intent_name", "aux_file", "data_type"])
def test_P1_text_in_the_header(tmp_path, field):
    path = scans.save(tmp_path / "sub-1_T1w.nii", **{field: b"DOE^JOHN"})
    assert rows(path) == [("P1", f"header field {field} holds 8 letters of text")]
    assert "JOHN" not in str(find_personal(path)[0])


@pytest.mark.parametrize("text", ["FSL5.0", "SPM12", "6.0.5:9e026117", "TE=2.9", "nibabel 5.4", ""])
def test_P1_programs_may_sign(tmp_path, text):
    assert rows(scans.save(tmp_path / "a.nii", descrip=text.encode())) == []


def test_P1_time_of_day_is_no_signature(tmp_path):
    path = scans.save(tmp_path / "a.nii", descrip=b"TE=2.9;Time=142030.000;phase=1")
    assert [row for row, _ in rows(path)] == ["P1"]


@pytest.mark.parametrize(("code", "kind"), [(6, "comment"), (2, "dicom"), (4, "afni")])
def test_P2_extensions(tmp_path, code, kind):
    image = nib.Nifti1Image(scans.voxels(), scans.affine())
    image.header.extensions.append(nib.nifti1.Nifti1Extension(code, b"DOE^JOHN"))
    nib.save(image, tmp_path / "a.nii.gz")
    assert rows(tmp_path) == [("P2", f"a header extension (code {code}, {kind}) of 16 bytes")]


def test_P3_fields_of_sidecars(tmp_path):
    content = {
        "EchoTime": 0.003,
        "PatientName": "DOE^JOHN",
        "PatientID": "",
        "InstitutionName": None,
        "StationName": "n/a",
        "global": {"const": [{"AcquisitionDateTime": "2019-03-04T12:00:00"}]},
        "AcquisitionTime": "12:00:00",
    }
    (tmp_path / "sub-1_T1w.json").write_text(json.dumps(content))
    (tmp_path / "broken.json").write_text("{")
    found = ["AcquisitionDateTime", "PatientName"]
    assert rows(tmp_path) == [("P3", f"it has the field {name}") for name in found]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ses-20190304", "a date"),
        ("scan_04.03.2019.nii", "a date"),
        ("T1_2019-03-04.nii.gz", "a date"),
        ("sub-00123456", "a long number"),
        ("Mueller_Hans_T1.nii.gz", "the name"),
        ("Doe, John.nii", "the name"),
        ("DOE^JOHN.nii", "the name"),
        ("sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz", None),
        ("sub-M2001_ses-1253_T1w.nii.gz", None),
        ("VSD.Brain.XX.O.MR_T1.70616.nii", None),
        ("sub-strokecase0001_ses-0001_dwi.nii.gz", None),
        ("Lesion_Mask_Left.nii", None),
        ("dataset_description.json", None),
    ],
)
def test_P4_names_of_files_and_folders(tmp_path, name, kind):
    path = tmp_path / "data" / name
    (path if "." in name else path / "x").parent.mkdir(parents=True)
    (path if "." in name else path / "x").write_text("{}")
    found = [what for row, what in rows(tmp_path / "data") if row == "P4"]
    assert len(found) == (kind is not None)
    assert all(what.startswith(f"its name seems to hold {kind}") for what in found)


def test_P5_columns_of_tables(tmp_path):
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\tfirst_name\tscan_date\tempty_date\n"
        "sub-1\t63\tF\tJane\t2019-03-04\tn/a\nsub-2\t92\tM\tJohn\t2019-03-05\tn/a\n"
    )
    (tmp_path / "scans.tsv").write_text("filename\tacq_time\nx\t1877-06-15T12:00:00\n")
    (tmp_path / "cases.csv").write_text("subject,image,dice\nsub-1,a.nii,0.5\n")
    columns = ["first_name", "scan_date"]
    expected = [("P5", "ages above 89")]
    expected += [("P5", f"its column {name} may tell who someone is") for name in columns]
    assert sorted(rows(tmp_path)) == sorted(expected)


def test_simulated_patients_are_nobody(simulated):
    assert rows(simulated) == []


def test_command(tmp_path, monkeypatch, capsys):
    scans.save(tmp_path / "sub-1" / "sub-1_T1w.nii", np.float32(scans.voxels()), descrip=b"J. Doe")
    for options, code, row in (([], 0, ""), (["--phi"], 3, "  P1  ")):
        monkeypatch.setattr(sys, "argv", ["stroke-nets", "check", str(tmp_path), *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
        assert row in capsys.readouterr().out


@pytest.mark.parametrize("size", [0, -16, 8, 15, 1000, 2**31 - 16])
def test_P2_R14_an_extension_of_an_impossible_size_is_said(size, tmp_path):
    path = scans.save(tmp_path / "a.nii", vox_offset=384)
    content = path.read_bytes()
    extension = struct.pack("<4B2i", 1, 0, 0, 0, size, 6) + b"John Smith".ljust(24)
    path.write_bytes(content[:348] + extension + content[352:])
    assert [problem for problem in check(path) if not problem.notice] == []
    (finding,) = find_personal(path)
    assert finding.row == "P2"
    assert "cannot be read" in finding.what
