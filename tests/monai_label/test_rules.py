"""What a client may ask the label server; with MONAI Label itself: test_guard.py."""

import json
from pathlib import Path

import pytest

from stroke_nets.monai_label.rules import (
    MASK,
    SCAN,
    RefusedError,
    Request,
    largest,
    require_allowed,
)
from stroke_nets.monai_label.trained_weights import newest_first

IMAGES = {"sub-1_T1w", "scan 2"}
FILE = {"file": [("/home/user/new.nii.gz", Path("0.nii.gz"))]}
LABEL = {"label": [("C:\\Temp\\mask.nii.gz", Path("0.nii.gz"))]}


def ask(method, path, query=None, params=None, body=None, files=None, viewer=False):
    query = {name: [value] for name, value in (query or {}).items()}
    fields = {} if params is None else {"params": [json.dumps(params)]}
    fields |= {} if body is None else {"": [json.dumps(body)]}
    require_allowed(Request(method, path, query, fields, files or {}, IMAGES), viewer)


SENT_BY_SLICER = [
    ("GET", "/info/", {}),
    ("POST", "/activelearning/first", {"body": {"client_id": "user-xyz"}}),
    ("GET", "/datastore/image", {"query": {"image": "sub-1_T1w"}}),
    (
        "PUT",
        "/datastore/",
        {"query": {"image": "new"}, "params": {"client_id": "a"}, "files": FILE},
    ),
    (
        "POST",
        "/infer/agmr_net",
        {
            "query": {"image": "scan 2"},
            "params": {
                "device": "cpu",
                "model_filename": ["model.pt", "published.pt"],
                "result_extension": ".nrrd",
                "result_dtype": "uint8",
                "client_id": "user-xyz",
            },
        },
    ),
    (
        "PUT",
        "/datastore/label",
        {
            "query": {"image": "scan 2"},
            "params": {"label_info": [{"name": "stroke lesion", "idx": 1}], "client_id": "a"},
            "files": LABEL,
        },
    ),
    (
        "POST",
        "/train/agmr_net",
        {
            "body": {
                "device": "NVIDIA H100:0",
                "pretrained": True,
                "max_epochs": 50,
                "val_split": 0.2,
                "multi_gpu": True,
                "gpus": "all",
                "tracking": "None",
                "tracking_uri": "",
                "tracking_experiment_name": "",
                "run_id": "",
                "model_filename": "model.pt",
                "client_id": "user-xyz",
            }
        },
    ),
    ("GET", "/train/", {"query": {"check_if_running": "true"}}),
    ("DELETE", "/train/", {}),
    ("GET", "/logs/", {"query": {"refresh": "3"}}),
]


@pytest.mark.parametrize(("method", "path", "what"), SENT_BY_SLICER)
def test_what_slicer_sends_is_allowed(method, path, what):
    ask(method, path, **what)


def infer(params=None, image="scan 2", files=None):
    return ("POST", "/infer/a", {"query": {"image": image}, "params": params, "files": files})


def put_label(tag="final", image="scan 2", name="mask.nii.gz", params=None, **query):
    files = {"label": [(name, Path("0.nii.gz"))]}
    query |= {"image": image, "tag": tag}
    return ("PUT", "/datastore/label", {"query": query, "files": files, "params": params})


def put_image(image="new", name="new.nii.gz", params=None):
    files = {"file": [(name, Path("0.nii.gz"))]}
    return (
        "PUT",
        "/datastore/image",
        {"query": {"image": image}, "files": files, "params": params},
    )


REFUSED = {
    "a scan outside the studies": infer(image="/etc/passwd"),
    "a scan above the studies": infer(image="../other"),
    "an unknown scan": infer(image="other"),
    "no scan": infer(image=""),
    "a scan by an option": infer({"image": "/etc/hosts"}),
    "a session by an option": infer({"session": {"image": "/etc/hosts"}}),
    "a model by an option": infer({"model": "other"}),
    "a path of weights": infer({"model_filename": "../../other/model.pt"}),
    "a path of weights in a list": infer({"model_filename": ["/tmp/model.pt"]}),
    "weights of another ending": infer({"model_filename": "model.py"}),
    "a folder by a tag": infer({"save_label": True, "label_tag": "../../app"}),
    "an ending by an option": infer({"result_extension": ".py"}),
    "an ending with folders": infer({"result_extension": "/../a.nii"}),
    "a type by an option": infer({"result_dtype": "object"}),
    "a dictionary": infer({"device": {"a": 1}}),
    "a device that is none": infer({"device": "cuda:0;"}),
    "no dictionary": infer([1]),
    "an upload to be segmented": infer(files=FILE),
    "a name with folders": put_image(image="../app/stroke_nets/new"),
    "an absolute name": put_image(image="/tmp/new"),
    "a hidden name": put_image(image=".new"),
    "a long name": put_image(image="n" * 201),
    "a name with a line feed": put_image(image="a\nb"),
    "a name with NUL": put_image(image="a\0b"),
    "a scan that is there": put_image(image="scan 2"),
    "a scan that is there, with its ending": put_image(image="scan 2.nii.gz"),
    "code as a scan": put_image(name="new.py"),
    "code as a scan, behind folders": put_image(name="x.nii.gz/new.py"),
    "two endings": put_image(name="new.nii.gz.pth"),
    "an archive": put_image(name="new.zip"),
    "no ending": put_image(name="new"),
    "an option of an upload": put_image(params={"path": "/tmp"}),
    "a tag with folders": put_label(tag="../../app"),
    "an unknown tag": put_label(tag="mine"),
    "a mask of an unknown scan": put_label(image="other"),
    "code as a mask": put_label(name="mask.py"),
    "another option": put_label(path="/tmp"),
    "a mask and another file": (
        "PUT",
        "/datastore/label",
        {"query": {"image": "scan 2"}, "files": LABEL | FILE},
    ),
    "no mask": ("PUT", "/datastore/label", {"query": {"image": "scan 2"}}),
    "a mask elsewhere": ("GET", "/datastore/label", {"query": {"label": "../a", "tag": "final"}}),
    "a mask of another tag": (
        "GET",
        "/datastore/label",
        {"query": {"label": "scan 2", "tag": "a"}},
    ),
    "the deletion of a scan": ("DELETE", "/datastore/image", {"query": {"id": "scan 2"}}),
    "the deletion of a scan, old form": ("DELETE", "/datastore/", {"query": {"id": "scan 2"}}),
    "the deletion of a mask": ("DELETE", "/datastore/label", {"query": {"id": "scan 2"}}),
    "a session": ("PUT", "/session/", {"files": FILE}),
    "a session's folder": ("GET", "/session/..", {}),
    "other weights": ("PUT", "/model/agmr_net", {"files": FILE}),
    "the deletion of weights": ("DELETE", "/model/agmr_net", {}),
    "weights of a path": ("GET", "/model/../a", {}),
    "a new start": ("POST", "/reload", {}),
    "pages with scripts of others": ("GET", "/docs", {}),
    "the first page, with scripts of others": ("GET", "/", {}),
    "a proxy where there is no server": ("GET", "/proxy/dicom/wado/a", {}),
    "whole slides": ("POST", "/infer/wsi_v2/a", {"body": {}}),
    "a file of the viewer's": ("GET", "/ohif/../../app.py", {"viewer": True}),
    "a write by the proxy": ("POST", "/proxy/dicom/stow/studies", {"viewer": True}),
    "another server by the proxy": ("GET", "/proxy/dicom/..//other.org/", {"viewer": True}),
    "a path by a training": ("POST", "/train/a", {"body": {"model_filename": "/tmp/a.pt"}}),
    "another part of a bundle": ("POST", "/train/a", {"body": {"run_id": "evaluate"}}),
    "endless epochs": ("POST", "/train/a", {"body": {"max_epochs": 10**9}}),
    "no epoch": ("POST", "/train/a", {"body": {"max_epochs": 0}}),
    "a part that is no number": ("POST", "/train/a", {"body": {"val_split": float("nan")}}),
    "a part above one": ("POST", "/train/a", {"body": {"val_split": 5}}),
    "endless workers": ("POST", "/batch/infer/a", {"body": {"max_workers": 10**6}}),
    "a flag for a number": ("POST", "/train/a", {"body": {"max_epochs": True}}),
    "a tracker elsewhere": ("POST", "/train/a", {"body": {"tracking": "mlflow"}}),
    "a tracker's address": ("POST", "/train/a", {"body": {"tracking_uri": "http://other.org"}}),
    "an option of a training": ("POST", "/train/a", {"body": {"bundle_path": "/tmp"}}),
    "an option of all trainings": ("POST", "/train/", {"body": {"a": {"bundle_path": "/tmp"}}}),
    "another way to choose": ("POST", "/activelearning/other", {}),
    "an option of the choice": ("POST", "/activelearning/first", {"body": {"strategy": "x"}}),
    "an option of many scans": ("POST", "/batch/infer/a", {"body": {"image": "/etc/hosts"}}),
    "another method": ("PATCH", "/info/", {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_label_server_refuses(what):
    method, path, request = REFUSED[what]
    with pytest.raises(RefusedError) as refused:
        ask(method, path, **request)
    assert refused.value.status in (400, 404, 409)
    assert refused.value.text


def test_label_server_refuses_what_is_given_twice():
    twice = Request("GET", "/datastore/image", {"image": ["scan 2", "/etc/hosts"]}, {}, {}, IMAGES)
    with pytest.raises(RefusedError, match="image is given 2 times"):
        require_allowed(twice)


@pytest.mark.parametrize("name", ["name", "path", "strategy", "ts", "user"])
def test_label_server_keeps_its_own_facts_of_a_scan(name):
    query = {"image": ["scan 2"]}

    def put(info):
        fields = {"info": [json.dumps(info)]}
        require_allowed(Request("PUT", "/datastore/image/info", query, fields, {}, IMAGES))

    put({"note": 1})
    with pytest.raises(RefusedError, match=f"info: {name} is the server's own"):
        put({name: 1})


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_label_server_refuses_what_is_no_JSON(text):
    request = Request("POST", "/infer/a", {"image": ["scan 2"]}, {"params": [text]}, {}, IMAGES)
    with pytest.raises(RefusedError, match="params: no JSON"):
        require_allowed(request)


def test_requests_have_a_largest_size():
    assert largest("PUT", "/datastore/label") == MASK
    assert largest("PUT", "/datastore/") == SCAN
    assert largest("GET", "/info/") == 0


def test_a_dicom_servers_pages_are_offered_only_for_one():
    ask("GET", "/ohif/app.js", viewer=True)
    with pytest.raises(RefusedError):
        ask("GET", "/ohif/app.js")


def test_the_training_that_slicer_shows_is_the_newest():
    stats = {"a": {}, "b": {"start_ts": 5, "epoch": 2}, "c": {"start_ts": 3}}
    assert list(newest_first(stats)) == ["b", "c", "a"]
