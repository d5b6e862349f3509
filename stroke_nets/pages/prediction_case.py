"""What ``stroke-nets predict`` left of one case: its sidecar, its lesions, its volumes."""

import csv
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stroke_nets.errors import DataError
from stroke_nets.pages.case_figure import Array, read_ras

NAME = re.compile(r"(?P<stem>.+?)(?:_space-[A-Za-z0-9]+)?_desc-(?P<method>.+)_mask\.json")
MAPS = {"probseg": "probability", "uncertainty": "uncertainty"}  # suffix: what the pages call it
TEMPLATE_SPACE = "MNI152NLin2009aSym"


@dataclass(frozen=True)
class Volumes:
    """A case on the scan's grid, all turned to RAS.

    Attributes:
        image: intensities of shape (X, Y, Z).
        mask: bool of the same shape.
        maps: further maps of the same shape, 0 or more, by what the pages call them.
        affine: voxel to mm, (4, 4).
    """

    image: Array
    mask: Array
    maps: dict[str, Array]
    affine: Array


@dataclass(frozen=True)
class PredictionCase:
    """One case and one method, by the sidecar of its mask."""

    sidecar: Path

    @cached_property
    def _names(self) -> re.Match[str]:
        found = NAME.fullmatch(self.sidecar.name)
        if not found:
            raise DataError(f"{self.sidecar}: give the sidecar '..._desc-METHOD_mask.json'")
        return found

    @property
    def name(self) -> str:
        """Subject and session as the files are called, without folders."""
        return self._names["stem"].removesuffix("_T1w")

    @property
    def method(self) -> str:
        """As the files are called."""
        return self._names["method"]

    @cached_property
    def content(self) -> dict[str, Any]:
        """The sidecar.

        Raises:
            DataError: it is not a JSON object.
        """
        try:
            content = json.loads(self.sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.sidecar}: cannot be read ({error}); predict again") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.sidecar}: holds no JSON object; predict again")
        return content

    @cached_property
    def lesions(self) -> list[dict[str, str]]:
        """The lines of ``lesions.csv``: one component each.

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
    def load_ml(self) -> float:
        """Total lesion load."""
        return sum(float(lesion["volume_ml"]) for lesion in self.lesions)

    def beside(self, suffix: str) -> Path:
        """A file of this case and method; ``suffix`` follows the last underscore."""
        return self.sidecar.with_name(f"{self.sidecar.name.removesuffix('mask.json')}{suffix}")

    def mask_on(self, shape: tuple[int, ...], affine: Array) -> Array | None:
        """The mask as bool where it was written on that grid, the template's; else None.

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

    def volumes(self, scan: Path) -> Volumes:
        """The scan with its mask and its maps.

        Raises:
            DataError: a file that cannot be read, or that does not lie on the scan's grid.
        """
        image, affine = read_ras(scan)
        paths = {"mask": self.beside("mask.nii.gz")}
        paths |= {name: self.beside(f"{suffix}.nii.gz") for suffix, name in MAPS.items()}
        found: dict[str, Array] = {}
        for name, path in paths.items():
            if name in MAPS.values() and not path.exists():
                continue
            found[name], placed = read_ras(path)
            if found[name].shape != image.shape or not np.allclose(placed, affine, atol=1e-3):
                raise DataError(f"{path}: its grid is not that of {scan.name}; predict again")
        mask = found.pop("mask") > 0.5
        return Volumes(image, mask, found, affine)
