import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from stroke_nets.datasets.published_folds import published_folds
from stroke_nets.errors import DataError, UsageError

SUBJECTS = ["sub-r001s001", "sub-r001s002", "sub-r002s001", "case_3"]
EXPECTED = {"sub-r001s001": 1, "sub-r001s002": 0, "sub-r002s001": 1, "case_3": 0}
LISTS = [["r001s002", "case_3"], ["sub-r001s001", "sub-r002s001_ses-1_space-MNI_T1w"]]
REFERENCE = Path(os.environ.get("STROKE_NETS_REFERENCE", ""), "atlas_v20_folds.json")


def nnu_net(strings=np.array):
    everyone = LISTS[0] + LISTS[1]
    return [
        OrderedDict(train=strings([n for n in everyone if n not in ids]), val=strings(ids))
        for ids in LISTS
    ]


@pytest.mark.parametrize("protocol", [3, 4, 5])  # nnU-Net's default has been each of them
@pytest.mark.parametrize(
    "strings", [np.array, list, lambda ids: list(np.array(ids)), lambda ids: np.array(ids, ">U60")]
)
def test_pickle(tmp_path, protocol, strings):
    path = tmp_path / "splits_final.pkl"
    path.write_bytes(pickle.dumps(nnu_net(strings), protocol=protocol))
    assert published_folds(path, SUBJECTS) == EXPECTED


def test_pickle_of_numpy_1(tmp_path):
    path = tmp_path / "splits_final.pkl"
    content = pickle.dumps(nnu_net(), protocol=3)  # names functions without a length
    assert b"numpy._core." in content
    path.write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
    assert published_folds(path, SUBJECTS) == EXPECTED


@pytest.mark.parametrize("content", [LISTS, {"val_folds": LISTS}, nnu_net(list)])
def test_json(tmp_path, content):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(content))
    assert published_folds(path, SUBJECTS) == EXPECTED


@pytest.mark.parametrize("head", ["subject,fold", "Name,Fold"])  # the latter is MAPPING's
def test_csv(tmp_path, head):
    path = tmp_path / "folds.csv"
    rows = [f"{name},{fold}" for fold, ids in enumerate(LISTS) for name in ids]
    path.write_text("\n".join([head, *reversed(rows)]))
    assert published_folds(path, SUBJECTS) == EXPECTED


def test_other_columns_are_named(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("id,fold\na,0")
    with pytest.raises(DataError, match=r"'id', 'fold'\], not subject \(or Name\) and fold"):
        published_folds(path, ["a"])


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [os.system, eval, np.load, np.frombuffer, open, getattr])
def test_X1_a_pickle_that_calls_anything_is_refused_and_not_run(
    tmp_path, monkeypatch, protocol, call
):
    monkeypatch.chdir(tmp_path)
    arguments = {eval: "open('owned', 'w')", os.system: "touch owned"}
    attack = Call(call, arguments.get(call, "owned"), *(["w"] if call is open else []))
    path = tmp_path / "splits_final.pkl"
    path.write_bytes(pickle.dumps([OrderedDict(val=["a"], train=attack)], protocol=protocol))
    with pytest.raises(DataError, match=r"it calls .*download it again") as error:
        published_folds(path, ["a"])
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["splits_final.pkl"]


def objects():
    """NumPy would take this state for pointers, if its own constructors were called."""
    content = pickle.dumps(np.array(["ab"]), protocol=3)
    return content.replace(b"U2", b"O8")


@pytest.mark.parametrize(
    "content",
    [
        objects(),
        pickle.dumps([{"val": np.arange(3)}]),
        pickle.dumps(nnu_net())[:-40],
        pickle.dumps([{"val": ["a", 1]}]),
        pickle.dumps([{"train": ["a"]}]),
        pickle.dumps({}),
        pickle.dumps([]),
        b"<html>",
        b"",
    ],
)
def test_other_pickles_are_refused(tmp_path, content):
    path = tmp_path / "splits_final.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"splits_final\.pkl: not a list of folds"):
        published_folds(path, ["a"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", '["ab", "c"]'),
        ("a.json", "3"),
        ("a.csv", "subject,fold\na,1"),
        ("a.csv", "subject,fold\na,x"),
        ("a.csv", "id,fold\na,0"),
    ],
)
def test_other_text_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="not a list of folds"):
        published_folds(tmp_path / name, ["a"])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["a"], ["b", "sub-a_ses-2"]], "names twice 'sub-a'; "),
        ([["a", "b", "b"]], "names twice 'b'; "),
        ([["a"], ["c"]], "lacks the manifest's 'b'; "),
        ([["x"]], "lacks the manifest's 'b', 'sub-a'; "),
    ],
)
def test_names_the_subjects_that_do_not_fit(tmp_path, lists, message):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(lists))
    with pytest.raises(DataError, match=message) as error:
        published_folds(path, ["sub-a", "b"])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_many_names_are_cut_short(tmp_path):
    path = tmp_path / "folds.json"
    path.write_text("[[]]")
    with pytest.raises(DataError, match="lacks the manifest's '0', '1', '2', '3', '4' and 5 more"):
        published_folds(path, [str(n) for n in range(10)])


def test_sessions_of_one_fold_and_subjects_of_others_are_no_matter(tmp_path, caplog):
    path = tmp_path / "folds.json"
    path.write_text('[["a_ses-1", "a_ses-2"], ["other"]]')
    assert published_folds(path, ["sub-a"]) == {"sub-a": 0}
    assert "the manifest lacks 'other'; ignored" in caplog.text


@pytest.mark.parametrize("name", ["folds.json", "folds.txt"])
def test_no_such_file(tmp_path, name):
    with pytest.raises(UsageError, match="--published"):
        published_folds(tmp_path / name, [])


@pytest.mark.reference
@pytest.mark.skipif(
    not REFERENCE.is_file(),
    reason="STROKE_NETS_REFERENCE names no folder with atlas_v20_folds.json",
)
def test_the_published_folds_of_atlas():
    lists = json.loads(REFERENCE.read_text())["val_folds"]
    subjects = [name for ids in lists for name in ids]
    assert len(set(subjects)) == 655
    folds = published_folds(REFERENCE, subjects)
    assert [list(folds.values()).count(k) for k in range(5)] == [131] * 5
    assert all(folds[name] == k for k, ids in enumerate(lists) for name in ids)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_W7_a_list_as_excel_writes_it(separator, tmp_path):
    rows = (("subject", "fold"), ("sub-1", "0"), ("sub-2", "1"))
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    (tmp_path / "folds.csv").write_text(text, encoding="utf-8-sig")
    assert published_folds(tmp_path / "folds.csv", {"sub-1", "sub-2"}) == {"sub-1": 0, "sub-2": 1}
