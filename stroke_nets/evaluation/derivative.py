"""Find the lesion mask of a scan or true mask in a BIDS derivative, by the entities in file names.

``stroke-nets predict`` and other BIDS Apps write such derivatives
(https://bids-specification.readthedocs.io, 1.10, "Derivatives").
"""

import json
from dataclasses import dataclass
from pathlib import Path

from stroke_nets.errors import DataError
from stroke_nets.files import paths_below
from stroke_nets.inference.inputs import bare, bids_label
from stroke_nets.scans.discovery import DESCRIPTION
from stroke_nets.scans.formats import is_scan

Entities = dict[str, str]
SUFFIXES = ("mask", "roi")
OF_A_MASK = ("desc", "label", "res", "den")  # these describe the mask, not the scan
EQUAL = ("sub", "ses", "space")  # must be equal, or missing in both; others may be left out


@dataclass(frozen=True)
class LesionMask:
    """A mask of a derivative: its file and the entities in its name."""

    path: Path
    entities: Entities


def is_derivative(folder: Path) -> bool:
    """Whether a folder is a BIDS derivative according to its ``dataset_description.json``.

    Raises:
        DataError: the file cannot be read.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return "GeneratedBy" in content or content.get("DatasetType") == "derivative"
    except (ValueError, RecursionError, AttributeError) as error:
        raise DataError(f"{path}: not the JSON of a BIDS data set ({error}); restore it") from error


def entities(name: str) -> Entities:
    """The entities of a file name; a name that is not BIDS is the subject, as in `predict`."""
    parts = [part.partition("-") for part in bare(name).split("_")]
    if parts[0][0] != "sub":
        return {"sub": bids_label(name)}
    return {key: value for key, dash, value in parts if dash}


def lesion_masks(folder: Path, desc: str | None = None) -> list[LesionMask]:
    """The lesion masks below a derivative's folder, sorted by path.

    Args:
        folder: the derivative's folder.
        desc: return only masks with this ``desc-`` entity; None for all.
    """
    found = []
    for path in paths_below(folder):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        twin = path.with_name(f"{bare(path.name)}.nii.gz")  # the same mask in another format
        if path != twin and twin.is_file():
            continue
        if hidden or not is_scan(path) or not path.name.startswith("sub-"):
            continue
        named = entities(path.name)
        of_lesions = named.get("label", "lesion").lower() == "lesion"
        wanted = desc is None or named.get("desc") == desc
        if bare(path.name).rpartition("_")[2] in SUFFIXES and of_lesions and wanted:
            found.append(LesionMask(path, named))
    return found


def fits(mask: Entities, scan: Entities) -> bool:
    """Whether a mask can belong to a scan, or to the scan of a true mask.

    Subject, session and space must be equal; other entities, such as ``run``, must not conflict.
    """
    one, other = ({k: v for k, v in e.items() if k not in OF_A_MASK} for e in (mask, scan))
    known = one.keys() & other.keys()
    return all(one.get(k) == other.get(k) for k in EQUAL) and all(one[k] == other[k] for k in known)
