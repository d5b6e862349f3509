"""The output of ``stroke-nets predict`` for one case: its sidecar, lesions and volumes."""

import csv
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
from nibabel.orientations import inv_ornt_aff

from stroke_nets.errors import DataError
from stroke_nets.pages.case_figure import Array, gray_levels, read_ras

NAME = re.compile(r"(?P<stem>.+?)(?:_space-[A-Za-z0-9]+)?_desc-(?P<method>.+)_mask\.json")
MAPS = {"probseg": "probability", "uncertainty": "uncertainty"}  # suffix: name on the pages
TEMPLATE_SPACE = "MNI152NLin2009aSym"
NUMBER, TEXT = {"type": "number"}, {"type": "string"}
OBJECTS = {"type": "array", "items": {"type": "object"}}
SIDECAR = {  # JSON schema: types of what a sidecar says; other keys and missing ones are accepted
    "type": "object",
    "properties": {
        "Request": {"type": "object"},
        "Method": TEXT,
        "Space": TEXT,
        "Registered": {"type": "boolean"},
        "Registration": {
            "type": ["object", "null"],
            "additionalProperties": {"type": ["number", "null"]},
        },
        "Threshold": NUMBER,
        "MinimumSizeMl": {"type": ["number", "null"]},
        "Files": {"type": "object", "additionalProperties": TEXT},
        "Lesions": {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "total_ml": NUMBER,
                "interval_ml": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2},
                "interval_level": NUMBER,
            },
        },
        "Warnings": {"type": "array", "items": TEXT},
        "Weights": OBJECTS,
        "GeneratedBy": OBJECTS,
    },
}
SMALL_ML = 0.1  # ours: smaller lesions are collapsed if the sidecar has no minimum size


def require_types(path: Path, content: Any) -> None:
    """Refuse a sidecar whose values are of another type than `predict` writes.

    Raises:
        DataError: with the first such value.
    """
    for error in jsonschema.Draft202012Validator(SIDECAR).iter_errors(content):
        where = "/".join(map(str, error.absolute_path)) or "the top"
        raise DataError(f"{path}: at {where}, {error.message}; predict again")


@dataclass(frozen=True)
class Volumes:
    """A case on the scan's grid, reoriented to RAS.

    Attributes:
        image: intensities of shape (X, Y, Z).
        mask: bool of the same shape.
        maps: zero or more maps of the same shape, by their name on the pages.
        affine: voxel to mm, (4, 4).
        truth: bool mask of the same shape, if there is one.
    """

    image: Array
    mask: Array
    maps: dict[str, Array]
    affine: Array
    truth: Array | None = None

    @cached_property
    def gray(self) -> Array:
        """The image as `gray_levels`."""
        return gray_levels(self.image)

    @classmethod
    def ras(cls, image: Array, mask: Array, maps: dict[str, Array], affine: Array) -> "Volumes":
        """Reorient volumes on one grid to RAS."""
        turn = nib.io_orientation(affine)
        back = affine @ inv_ornt_aff(turn, image.shape)

        def turned(volume: Array) -> Array:
            return np.asarray(nib.apply_orientation(volume, turn))

        rotated = {name: turned(volume) for name, volume in maps.items()}
        return cls(turned(image), turned(mask), rotated, back)


@dataclass(frozen=True)
class PredictionCase:
    """One case and method, identified by the sidecar of its mask."""

    sidecar: Path

    @cached_property
    def _names(self) -> re.Match[str]:
        found = NAME.fullmatch(self.sidecar.name)
        if not found:
            raise DataError(f"{self.sidecar}: give the sidecar '..._desc-METHOD_mask.json'")
        return found

    @property
    def name(self) -> str:
        """Subject and session as in the file names, without folders."""
        return self._names["stem"].removesuffix("_T1w")

    @property
    def method(self) -> str:
        """The method as in the file names."""
        return self._names["method"]

    @property
    def title(self) -> str:
        """Name and method, the latter as its bundles are named."""
        name, method = self.name, self.content.get("Method", self.method)
        return f"{name}, {method.replace('+', ' and ')}"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The sidecar.

        Raises:
            DataError: it is not a JSON object, or what it holds is of another type.
        """
        try:
            content: dict[str, Any] = json.loads(self.sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.sidecar}: cannot be read ({error}); predict again") from error
        require_types(self.sidecar, content)
        return content

    @cached_property
    def lesions(self) -> list[dict[str, str]]:
        """The rows of ``lesions.csv``, one per component.

        Raises:
            DataError: it cannot be read.
        """
        path = self.beside("lesions.csv")
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read ({error}); predict again") from error

    @property
    def total_ml(self) -> float:
        """The total lesion volume."""
        return sum(float(lesion["volume_ml"]) for lesion in self.lesions)

    @property
    def interval_ml(self) -> tuple[float, float] | None:
        """The interval of the total volume, if the prediction has one."""
        found = self.content.get("Lesions", {}).get("interval_ml")
        return (float(found[0]), float(found[1])) if found else None

    @property
    def interval_level(self) -> float:
        """The nominal coverage of the interval."""
        return float(self.content.get("Lesions", {}).get("interval_level", 0.95))

    @property
    def minimum_ml(self) -> float:
        """The minimum size of listed lesions; smaller ones are collapsed."""
        return float(self.content.get("MinimumSizeMl") or SMALL_ML)

    @property
    def threshold(self) -> float:
        """The probability from which a voxel is lesion."""
        return float(self.content.get("Threshold", 0.5))

    @property
    def warnings(self) -> list[str]:
        """Warnings about the scan or the mask."""
        return [str(text) for text in self.content.get("Warnings", [])]

    def split(self) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """The lesions of at least the minimum size, and the smaller ones."""
        large = [one for one in self.lesions if float(one["volume_ml"]) >= self.minimum_ml]
        small = [one for one in self.lesions if float(one["volume_ml"]) < self.minimum_ml]
        return large, small

    def beside(self, suffix: str) -> Path:
        """A file of this case and method; ``suffix`` follows the last underscore."""
        return self.sidecar.with_name(f"{self.sidecar.name.removesuffix('mask.json')}{suffix}")

    def mask_on(self, shape: tuple[int, ...], affine: Array) -> Array | None:
        """The mask as bool if it was also written on the given (template) grid; otherwise None.

        Raises:
            DataError: a mask cannot be read.
        """
        copy = f"{self.name}_space-{TEMPLATE_SPACE}_desc-{self.method}_mask.nii.gz"
        for path in (self.sidecar.with_name(copy), self.beside("mask.nii.gz")):
            if path.exists():
                voxels, placed = read_ras(path)
                if voxels.shape == shape and np.allclose(placed, affine, atol=1e-3):
                    return voxels > 0.5
        return None

    def worlds(self) -> dict[str, Array]:
        """Maps from the mm of the displayed grid to named spaces, (4, 4) each.

        ``scanner`` is the space of the scan's header, ``MNI`` that of the template; either is
        missing if the registration is unknown.

        Raises:
            DataError: the transform cannot be read.
        """
        if not self.content.get("Registered"):
            return {"MNI": np.eye(4)}
        from stroke_nets.registration.transform import load  # nilearn takes a second

        on_template = self.content.get("Space") == TEMPLATE_SPACE
        worlds: dict[str, Array] = {"MNI" if on_template else "scanner": np.eye(4)}
        name = self.content.get("Files", {}).get("transform")
        transform = load(self.sidecar.with_name(name))[0] if name else None
        if transform and on_template:
            worlds["scanner"] = transform.matrix
        elif transform:
            worlds["MNI"] = np.linalg.inv(transform.matrix)
        return worlds

    def volumes(self, scan: Path, truth: Path | None = None) -> Volumes:
        """The scan with its mask, its maps and optionally the true mask.

        Raises:
            DataError: a file cannot be read or does not lie on the scan's grid.
        """
        image, affine = read_ras(scan)
        maps = {name: self.beside(f"{suffix}.nii.gz") for suffix, name in MAPS.items()}
        paths = {"mask": self.beside("mask.nii.gz")} | ({"truth": truth} if truth else {})
        paths |= {name: path for name, path in maps.items() if path.exists()}
        found: dict[str, Array] = {}
        for name, path in paths.items():
            found[name], placed = read_ras(path)
            if found[name].shape != image.shape or not np.allclose(placed, affine, atol=1e-3):
                mend = "resample it" if name == "truth" else "predict again"
                raise DataError(f"{path}: its grid is not that of {scan.name}; {mend}")
        mask, true = found.pop("mask") > 0.5, found.pop("truth", None)
        return Volumes(image, mask, found, affine, None if true is None else true > 0.5)
