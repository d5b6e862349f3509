from pathlib import Path

import pytest

from stroke_nets.errors import UsageError
from stroke_nets.inference.inputs import contrast_by_name, find_scans


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_bids_tree_gives_its_t1w_scans(tmp_path):
    root = touch(
        tmp_path / "raw",
        "dataset_description.json",
        "sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w.nii.gz",
        "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz",
        "sub-1/ses-2/anat/sub-1_ses-2_mask.nii.gz",
        "sub-2/anat/sub-2_T1w.nii",
        "derivatives/other/sub-2/anat/sub-2_T1w.nii.gz",
    )
    first, second = find_scans(root, root / "derivatives" / "ours")
    assert first.stem == "sub-1_ses-2_acq-x"
    assert first.folder.as_posix() == "sub-1/ses-2/anat"
    assert first.source == "sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w.nii.gz"
    assert second.stem == "sub-2"
    assert second.folder.as_posix() == "sub-2/anat"


def lines(caplog):
    found = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    caplog.clear()
    return found


def test_F25_what_a_bids_tree_holds_besides_is_said(tmp_path, caplog):
    root = touch(
        tmp_path / "raw",
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-1/anat/sub-1_label-lesion_mask.nii.gz",
        "sub-2/anat/sub-2_t1w.nii.gz",
        "sub-3/func/sub-3_bold.nii.gz",
        "sub-4/readme.txt",
        "derivatives/other/sub-1/anat/sub-1_desc-preproc_T1w.nii.gz",
    )
    (scan,) = find_scans(root, tmp_path / "out")
    assert scan.stem == "sub-1"
    assert [line.split(";")[0] for line in lines(caplog)] == [
        "1 image left out: derivatives",
        "1 image left out: another modality's (func, dwi, fmap, ...)",
        "1 left out, named as masks, such as sub-1_label-lesion_mask.nii.gz",
        "2 left out, not named sub-*_T1w, such as sub-1_FLAIR.nii.gz",
        "3 without sub-*_T1w, such as sub-2",
    ]
    plain = touch(tmp_path / "plain", "a.nii.gz", "derivatives/b.nii.gz")
    find_scans(plain, tmp_path / "out")
    assert [line.split(";")[0] for line in lines(caplog)] == ["1 image left out: derivatives"]


@pytest.mark.parametrize("part", ["sub-1", "sub-1/ses-2", "sub-1/ses-2/anat"])
def test_a_subject_of_a_bids_tree_gives_its_t1w_scans(part, tmp_path):
    names = ("anat/sub-1_ses-2_T1w.nii.gz", "anat/sub-1_ses-2_T2w.nii.gz")
    root = touch(tmp_path, "dataset_description.json", *(f"sub-1/ses-2/{name}" for name in names))
    touch(root, "sub-1/ses-2/func/sub-1_ses-2_bold.nii.gz")
    (scan,) = find_scans(root / part, tmp_path / "out")
    assert scan.path.name == "sub-1_ses-2_T1w.nii.gz"


@pytest.mark.parametrize("given", ["", "one/sub-1", "one/sub-1/anat"])
def test_files_that_lie_as_in_bids_are_read_as_such(given, tmp_path, caplog):
    names = ("anat/sub-1_T1w.nii.gz", "anat/sub-1_FLAIR.nii.gz", "func/sub-1_bold.nii.gz")
    root = touch(tmp_path / "sets", *(f"one/sub-1/{name}" for name in names))
    touch(root, "two/sub-2/perf/sub-2_asl.nii.gz")
    (scan,) = find_scans(root / given, tmp_path / "out")
    assert scan.path.name == "sub-1_T1w.nii.gz"
    assert "left out, not named *_T1w, such as sub-1_FLAIR.nii.gz" in caplog.text


def test_a_link_does_not_hide_what_it_points_to(tmp_path):
    root = touch(tmp_path / "raw", "sub-1/anat/sub-1_T1w.nii.gz", "derivatives/x/a.txt")
    (root / "derivatives" / "x" / "sub-1").symlink_to(root / "sub-1")
    (scan,) = find_scans(root, tmp_path / "out")
    assert scan.source == "sub-1/anat/sub-1_T1w.nii.gz"


def test_any_other_folder_gives_what_is_no_mask(tmp_path):
    root = touch(tmp_path / "in", "scan 1.nii.gz", "scan 1_mask.nii.gz", "._scan 1.nii.gz", "a.txt")
    touch(root / "out", "sub-scan1/anat/sub-scan1_desc-x_probseg.nii.gz")
    (scan,) = find_scans(root, root / "out")
    assert (scan.stem, scan.source) == ("sub-scan1", "scan 1.nii.gz")


def test_files_of_one_name_take_the_names_of_their_folders(tmp_path):
    root = touch(tmp_path / "in", "p1/T1.nii.gz", "p2/T1.nii.gz", "b.nii.gz")
    stems = [scan.stem for scan in find_scans(root, tmp_path / "out")]
    assert stems == ["sub-b", "sub-p1T1", "sub-p2T1"]


def test_two_scans_with_outputs_of_one_name_are_refused(tmp_path):
    root = touch(tmp_path / "in", "a/sub-1_T1w.nii.gz", "b/sub-1_T1w.nii.gz")
    with pytest.raises(UsageError, match=r"b/sub-1_T1w.nii.gz: .* have the names of .*a/sub-1"):
        find_scans(root, tmp_path / "out")


def test_two_scans_with_one_name_on_the_template_are_refused(tmp_path):
    names = ("sub-1_desc-x_T1w.nii.gz", "sub-1_space-MNI152NLin6Asym_desc-x_T1w.nii.gz")
    with pytest.raises(UsageError, match="give each an OUT of its own"):
        find_scans(touch(tmp_path / "in", *names), tmp_path / "out")


def test_a_linked_subject_is_not_left_out(tmp_path):
    touch(tmp_path, "store/sub-2_T1w.nii.gz", "in/sub-1/sub-1_T1w.nii.gz")
    (tmp_path / "in" / "sub-2").symlink_to(tmp_path / "store")
    scans = find_scans(tmp_path / "in", tmp_path / "out")
    assert [scan.source for scan in scans] == ["sub-1/sub-1_T1w.nii.gz", "sub-2/sub-2_T1w.nii.gz"]


def test_nothing_to_predict_is_said(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        find_scans(tmp_path / "no", tmp_path / "out")
    with pytest.raises(UsageError, match="no file that ends in"):
        find_scans(touch(tmp_path / "in", "a.txt"), tmp_path / "out")
    with pytest.raises(UsageError, match=r"no sub-\*_T1w.nii.gz"):
        find_scans(touch(tmp_path / "bids", "sub-1/sub-1_FLAIR.nii.gz"), tmp_path / "out")
    with pytest.raises(UsageError, match="is or holds the input"):
        find_scans(tmp_path / "in", tmp_path)


def test_W7_names_without_letters_are_told_apart(tmp_path):
    touch(tmp_path, "\u75c5\u4eba.nii.gz", "\u60a3\u8005.nii.gz")
    stems = {scan.stem for scan in find_scans(tmp_path, tmp_path / "out")}
    assert len(stems) == 2
    assert all(stem.removeprefix("sub-scan").isalnum() for stem in stems)


def test_the_dwi_of_a_tree_comes_with_its_adc(tmp_path):
    names = ("sub-1/dwi/sub-1_dwi.nii.gz", "sub-1/dwi/sub-1_ADC.nii", "sub-1/anat/sub-1_T1w.nii.gz")
    root = touch(tmp_path / "bids", *names, "sub-2/sub-2_dwi.nii.gz", "sub-2/sub-2_msk.nii.gz")
    one, other = find_scans(root, root / "out", "diffusion")
    assert (one.stem, one.folder, one.adc) == ("sub-1", Path("sub-1/dwi"), root / names[1])
    assert (other.source, other.adc) == ("sub-2/sub-2_dwi.nii.gz", None)
    plain = touch(tmp_path / "plain", "dwi.nii.gz", "adc.nii.gz", "T1.nii.gz")
    (scan,) = find_scans(plain, tmp_path / "out", "diffusion")
    assert (scan.stem, scan.adc) == ("sub-dwi", plain / "adc.nii.gz")
    with pytest.raises(UsageError, match=r"no sub-\*_dwi.nii.gz"):
        find_scans(touch(tmp_path / "t1w", names[2]), tmp_path / "out", "diffusion")


def test_the_contrast_is_that_of_the_names(tmp_path):
    def of(*names):
        of.folders += 1
        return contrast_by_name(touch(tmp_path / str(of.folders), *names), tmp_path / "out")

    of.folders = 0
    tree = ("sub-1/dwi/sub-1_dwi.nii.gz", "sub-1/dwi/sub-1_ADC.nii")
    assert of(*tree) == "diffusion"
    assert of(*tree, "sub-2/anat/sub-2_T1w.nii.gz") == "T1w"
    assert of("dwi.nii.gz", "adc.nii.gz", "lesion_mask.nii.gz") == "diffusion"
    assert of("dwi.nii.gz", "scan.nii.gz") == "T1w"
    assert of("readme.txt") == "T1w"
    for name, contrast in (("sub-1_dwi.nii.gz", "diffusion"), ("dwi_scan.nii.gz", "T1w")):
        assert contrast_by_name(tmp_path / name, tmp_path / "out") == contrast
