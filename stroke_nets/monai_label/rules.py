"""What a client may ask the label server: everything else is refused before MONAI Label sees it.

MONAI Label 0.8.5 takes names, endings, paths and options of a request as they are: it writes files
of any name, reads any path, and makes folders by a label's tag.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = re.compile(r"\w[\w .()+-]{0,199}")  # of a scan, without folders
FILE = re.compile(r"\w[\w .()+-]{0,199}\.nii(\.gz)?")
MODEL = re.compile(r"\w{1,100}")
TAGS = ("", "final", "original")
SMALL, MASK, SCAN = 100_000, 200_000_000, 1_000_000_000  # bytes of a request

# Options of inference and training that 3D Slicer shows or sends, and their values.
_WORD = re.compile(r"[\w.:,-]{0,100}")
_FLAG = (bool, re.compile(r"(?i)true|false"))
_WEIGHTS = re.compile(r"\w+\.pt")
INFER: dict[str, tuple[Any, ...]] = {
    "client_id": (_WORD,),
    "device": (re.compile(r"cpu|cuda(:\d+)?|NVIDIA[\w .:()-]*"),),
    "label_info": (list,),
    "label_tag": (re.compile("final|original"),),
    "logging": (re.compile("DEBUG|INFO|WARNING|ERROR"),),
    "model_filename": (_WEIGHTS,),
    "restore_label_idx": _FLAG,
    "result_compress": _FLAG,
    "result_dtype": (re.compile("uint8|uint16|int16|int32|float32"),),
    "result_extension": (re.compile(r"\.nii(\.gz)?|\.nrrd"),),
    "save_label": _FLAG,
}
BATCH = INFER | {
    "gpus": (re.compile(r"all|[\d,]+"),),
    "max_batch_size": (range(10_000),),
    "max_workers": (range(100),),
    "multi_gpu": _FLAG,
}
TRAIN: dict[str, tuple[Any, ...]] = {
    "client_id": (_WORD,),
    "device": INFER["device"],
    "gpus": BATCH["gpus"],
    "max_epochs": (range(1, 100_000),),
    "model_filename": (_WEIGHTS,),
    "multi_gpu": _FLAG,
    "name": (_WORD,),
    "pretrained": _FLAG,
    "run_id": (re.compile("|run"),),
    "tracking": (re.compile("|None"),),
    "tracking_experiment_name": (re.compile(""),),
    "tracking_uri": (re.compile(""),),
    "val_split": (float,),
}
NEXT: dict[str, tuple[Any, ...]] = {"client_id": (_WORD,)}


class RefusedError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        text: what is wrong and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        """Store both."""
        super().__init__(text)
        self.status, self.text = status, text


@dataclass
class Request:
    """A request as the rules see it.

    Attributes:
        method: such as ``PUT``.
        path: without the token.
        query: every value of each name.
        fields: every text of each name of a form; a JSON body is the field ``""``.
        files: for each name of a form, the file's own name and where its content lies.
        images: the names of the scans that are served.
    """

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    fields: Mapping[str, list[str]] = field(default_factory=dict)
    files: Mapping[str, list[tuple[str, Path]]] = field(default_factory=dict)
    images: Collection[str] = ()

    def one(self, name: str, default: str = "") -> str:
        """The one value of a name in the query."""
        return self._only(self.query, name, default)

    def text(self, name: str) -> str:
        """The one text of a name in the form."""
        return self._only(self.fields, name, "")

    @staticmethod
    def _only(values: Mapping[str, list[str]], name: str, default: str) -> str:
        found = values.get(name, [default])
        if len(found) != 1:
            raise RefusedError(400, f"{name} is given {len(found)} times; give it once")
        return found[0]


def _image(request: Request, name: str = "image") -> None:
    """A scan that is served."""
    if request.one(name) not in request.images:
        raise RefusedError(404, f"{name} {request.one(name)[:100]!r}: no scan of that name here")


def _tag(request: Request) -> None:
    if request.one("tag") not in TAGS:
        raise RefusedError(400, f"tag {request.one('tag')[:100]!r}: choose final or original")


def _only_query(*names: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        other = sorted(request.query.keys() - set(names))
        if other:
            raise RefusedError(400, f"{other[0][:100]}: no option here; leave it out")

    return check


def _options(text: str, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    """Options as JSON, each of them known and of a known form."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"params: no JSON ({type(error).__name__})") from error
    for name, value in ({} if found is None else _dictionary(found)).items():
        kinds = allowed.get(name)
        if kinds is None:
            raise RefusedError(400, f"{name[:100]}: no option here; leave it out")
        values = value if isinstance(value, list) and list not in kinds else [value]
        if value is not None and not all(_fits(one, kinds) for one in values):
            raise RefusedError(400, f"{name} {str(value)[:100]!r}: not allowed here")


def _fits(value: Any, kinds: tuple[Any, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    for kind in kinds:
        if isinstance(kind, re.Pattern):
            fits = isinstance(value, str) and kind.fullmatch(value) is not None
        elif isinstance(kind, range):
            fits = isinstance(value, int) and value in kind
        elif kind is float:  # a part of a whole
            fits = isinstance(value, int | float) and 0 <= value <= 1
        else:
            fits = isinstance(value, kind)
        if fits:
            return True
    return False


def _dictionary(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise RefusedError(400, "params: give a JSON object")
    return found


def _file(request: Request, name: str) -> Path:
    """The one file of a form, with a plain name that ends like a scan's.

    Clients send the whole path of their file as its name.
    """
    if {key: len(files) for key, files in request.files.items()} != {name: 1}:
        raise RefusedError(400, f"give one file, as {name}")
    ((given, path),) = request.files[name]
    if not FILE.fullmatch(re.split(r"[/\\]", given)[-1]):
        raise RefusedError(400, f"{given[-100:]!r}: give a file named NAME.nii.gz or NAME.nii")
    return path


def _information(request: Request) -> None:
    found = _dictionary(_json(request.text("info")))
    kept = sorted({"name", "path", "strategy", "ts", "user"} & found.keys())
    if kept:
        raise RefusedError(400, f"info: {kept[0]} is the server's own; leave it out")


def _json(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"no JSON ({type(error).__name__})") from error


def _infer(request: Request) -> None:
    _only_query("image", "output")(request)
    _image(request)
    if request.files:
        raise RefusedError(400, "files are not taken here: add the scan to the studies first")
    _options(request.text("params"), INFER)


def _add_image(request: Request) -> None:
    _only_query("image")(request)
    _file(request, "file")
    name = request.one("image") or re.split(r"[/\\]", request.files["file"][0][0])[-1]
    if not NAME.fullmatch(name):
        raise RefusedError(400, f"image {name[:100]!r}: give a plain name")
    if name in request.images or re.sub(r"\.nii(\.gz)?$", "", name) in request.images:
        raise RefusedError(409, f"image {name!r}: is there already; give another name")
    _options(request.text("params"), NEXT)


def _save_label(request: Request) -> None:
    _only_query("image", "tag")(request)
    _image(request)
    _tag(request)
    _file(request, "label")
    _options(request.text("params"), {"client_id": (_WORD,), "label_info": (list,)})


def _get_label(request: Request) -> None:
    _only_query("label", "tag")(request)
    _image(request, "label")
    _tag(request)


def _get_image(request: Request) -> None:
    _only_query("image", "check_sum")(request)
    _image(request)


def _put_info(request: Request) -> None:
    _only_query("image")(request)
    _image(request)
    _information(request)


def _train(request: Request) -> None:
    _only_query("run_sync", "enqueue")(request)
    _options(request.text(""), TRAIN)


def _train_all(request: Request) -> None:
    _only_query("run_sync")(request)
    for model, options in _dictionary(_json(request.text("")) or {}).items():
        if model != "client_id":
            _options(json.dumps(options), TRAIN)


def _batch(request: Request) -> None:
    _only_query("images", "run_sync")(request)
    _options(request.text(""), BATCH)


def _next(request: Request) -> None:
    _only_query()(request)
    _options(request.text(""), NEXT)


RULES: list[tuple[str, str, int, Callable[[Request], None]]] = [
    ("GET", r"/info/", 0, _only_query()),
    ("GET", r"/logs/", 0, _only_query("lines", "refresh", "html", "text")),
    ("POST", r"/infer/\w{1,100}", SMALL, _infer),
    ("POST", r"/activelearning/(first|random)", SMALL, _next),
    ("GET", r"/datastore/", 0, _only_query("output")),
    ("GET|HEAD", r"/datastore/image", 0, _get_image),
    ("GET", r"/datastore/image/info", 0, _get_image),
    ("PUT", r"/datastore/image/info", SMALL, _put_info),
    ("PUT", r"/datastore/(image)?", SCAN, _add_image),
    ("GET|HEAD", r"/datastore/label(/info)?", 0, _get_label),
    ("PUT", r"/datastore/label", MASK, _save_label),
    ("GET", r"/train/", 0, _only_query("all", "check_if_running")),
    ("DELETE", r"/train/", 0, _only_query()),
    ("POST", r"/train/\w{1,100}", SMALL, _train),
    ("POST", r"/train/", SMALL, _train_all),
    ("GET", r"/batch/infer", 0, _only_query("all", "check_if_running")),
    ("DELETE", r"/batch/infer", 0, _only_query()),
    ("POST", r"/batch/infer/\w{1,100}", SMALL, _batch),
    ("GET", r"/model/(info/)?\w{1,100}", 0, _only_query()),
]
VIEWER = [  # OHIF, for a DICOMweb server only
    ("GET", r"/ohif/[\w./-]*", 0, lambda request: None),
    ("GET", r"/proxy/dicom/[\w./-]*", 0, lambda request: None),
]


def largest(method: str, path: str, viewer: bool = False) -> int:
    """The largest body of a request, in bytes.

    Args:
        method: of the request.
        path: of the request, without the token.
        viewer: whether OHIF is offered.

    Raises:
        RefusedError: there is no such request here.
    """
    return _rule(method, path, viewer)[0]


def require_allowed(request: Request, viewer: bool = False) -> None:
    """Refuse whatever is not allowed.

    Args:
        request: as it came.
        viewer: whether OHIF is offered.

    Raises:
        RefusedError: it is not allowed.
    """
    _rule(request.method, request.path, viewer)[1](request)


def _rule(method: str, path: str, viewer: bool) -> tuple[int, Callable[[Request], None]]:
    for methods, pattern, size, check in [*RULES, *(VIEWER if viewer else [])]:
        fits = re.fullmatch(pattern, path, re.ASCII) and ".." not in path and "//" not in path
        if fits and re.fullmatch(methods, method):
            return size, check
    raise RefusedError(404, f"{method} {path[:100]}: not offered here; see docs/monai_label.md")
