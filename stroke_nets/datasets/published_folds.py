"""Read folds that a paper's authors published, from a copy downloaded by the user.

A list is one of

- ``.pkl``: nnU-Net v1's ``splits_final.pkl``, a list of dictionaries with ``train`` and ``val``;
- ``.json``: the same (nnU-Net v2's ``splits_final.json``), a list of lists of held-out ids, or an
  object that holds that list as ``val_folds``;
- ``.csv``: columns ``subject`` and ``fold``, folds numbered from 0; or MAPPING's ``fold_index.csv``
  (https://github.com/King-HAW/ATLAS-R2-Docker-Submission), whose columns are ``Name`` and ``Fold``.

Only the held-out ids are used: each subject is trained on in the folds that do not hold it out.
"""

import csv
import json
import logging
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stroke_nets.errors import DataError, UsageError

SHOWN = 5  # names in an error

logger = logging.getLogger(__name__)


def published_folds(path: Path, subjects: Collection[str]) -> dict[str, int]:
    """The fold of each subject according to a published list.

    An id matches a subject if it, or its part before the first ``_``, is the subject's id; a
    leading ``sub-`` is ignored. So ``r001s001``, ``sub-r001s001`` and
    ``sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w`` all match ``sub-r001s001``. Ids of other
    subjects are counted and logged.

    Args:
        path: the list.
        subjects: the subjects of the manifest.

    Raises:
        UsageError: the file does not exist or has another extension.
        DataError: the file is not such a list, contains a subject in two folds or an id twice, or
            lacks subjects.
    """
    lists = _held_out_ids(path)
    known = {subject.removeprefix("sub-"): subject for subject in subjects}
    folds: dict[str, int] = {}
    others = []
    twice = {name for name, n in Counter(name for ids in lists for name in ids).items() if n > 1}
    for fold, ids in enumerate(lists):
        for name in ids:
            short = name.removeprefix("sub-")
            subject = known.get(short) or known.get(short.partition("_")[0])
            if subject is None:
                others.append(name)
            elif folds.setdefault(subject, fold) != fold:
                twice.add(subject)
    if twice:
        raise DataError(f"{path}: names twice {_named(twice)}; hold each out once")
    if lacking := set(subjects) - folds.keys():
        raise DataError(
            f"{path}: lacks the manifest's {_named(lacking)}; take this data set's list, "
            "or leave them out of the manifest"
        )
    if others:
        logger.warning("%s: the manifest lacks %s; ignored", path, _named(others))
    return folds


def _held_out_ids(path: Path) -> list[list[str]]:
    """The ids of each fold."""
    readers = {".pkl": _read_pickle, ".json": _read_json, ".csv": _read_csv}
    if path.suffix not in readers:
        raise UsageError(f"--published {path}: give a {', '.join(readers)} file")
    if not path.is_file():
        raise UsageError(f"--published {path}: no such file; download the authors' list")
    try:
        content = readers[path.suffix](path)
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise DataError(f"{path}: not a list of folds ({error}); download it again") from error
    folds = content.get("val_folds") if isinstance(content, dict) else content
    if isinstance(folds, list):
        folds = [fold.get("val") if isinstance(fold, dict) else fold for fold in folds]
        if folds and all(isinstance(ids, list) and _are_text(ids) for ids in folds):
            return folds
    raise DataError(f"{path}: not a list of folds, each with its held-out ids; download it again")


def _are_text(ids: list[Any]) -> bool:
    return all(isinstance(name, str) for name in ids)


def _named(names: Collection[str]) -> str:
    shown = ", ".join(map(repr, sorted(names)[:SHOWN]))
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return shown + rest


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_csv(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8-sig") as stream:
        separator = max(",;\t", key=stream.readline().count)  # Excel writes ; in many countries
        stream.seek(0)
        reader = csv.DictReader(stream, delimiter=separator)
        named = {(name or "").lower(): name for name in reader.fieldnames or ()}
        subject, fold = named.get("subject", named.get("name")), named.get("fold")
        if subject is None or fold is None:
            raise ValueError(f"columns {reader.fieldnames}, not subject (or Name) and fold")
        rows = [(row[subject], int(row[fold])) for row in reader]
    numbers = sorted({fold for _, fold in rows})
    if numbers != list(range(len(numbers))):
        raise ValueError(f"folds {numbers} are not numbered from 0")
    return [[subject for subject, fold in rows if fold == k] for k in numbers]


def _read_pickle(path: Path) -> Any:
    with open(path, "rb") as stream:
        return _PlainUnpickler(stream).load()


class _Text:
    """Replacement for NumPy's dtype: strings only."""

    def __init__(self, code: str, *_: Any) -> None:
        """Take a type code such as ``U42``."""
        if not re.fullmatch(r"U\d+", code):
            raise pickle.UnpicklingError(f"an array of type {code!r}, not of strings")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        """Take the byte order; the sizes follow from the code."""
        self.order = ">" if state[1] == ">" else "<"

    def decode(self, raw: bytes) -> list[str]:
        return list(np.frombuffer(raw, self.order + self.code).tolist())


class _Strings(list[str]):
    """Replacement for a NumPy array of strings, however NumPy pickles it."""

    def __init__(self, *_: Any) -> None:
        """Start empty, as ``_reconstruct`` does."""

    def __setstate__(self, state: Sequence[Any]) -> None:
        """Take (version, shape, type, order, bytes)."""
        self[:] = state[2].decode(state[4])

    @classmethod
    def from_buffer(cls, raw: bytes, text: _Text, *_: Any) -> list[str]:
        return text.decode(raw)

    @classmethod
    def scalar(cls, text: _Text, raw: bytes) -> str:
        return text.decode(raw)[0]


class _PlainUnpickler(pickle.Unpickler):
    """Read containers, numbers and strings, including NumPy's; nothing else is ever called.

    NumPy's own constructors trust the pickled state, so they are replaced.
    """

    ADMITTED: dict[str, Any] = {  # noqa: RUF012
        "collections.OrderedDict": OrderedDict,
        "numpy.dtype": _Text,
        "numpy.ndarray": _Strings,
        "numpy.core.multiarray._reconstruct": _Strings,
        "numpy.core.multiarray.scalar": _Strings.scalar,
        "numpy.core.numeric._frombuffer": _Strings.from_buffer,
    }

    def find_class(self, module: str, name: str) -> Any:
        """The names that a pickle may call; NumPy 2 writes ``numpy._core`` for ``numpy.core``."""
        wanted = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if wanted not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it calls {wanted!r}")
        return self.ADMITTED[wanted]
