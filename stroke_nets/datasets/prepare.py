"""Convert a downloaded data set into a folder with a manifest, ready for training.

A recipe (``data_manifests/<data set>.json``) gives the expected number of scans and their split;
the data set's module finds the files and converts them.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import stroke_nets
from stroke_nets.datasets import arc, atlas_r12, atlas_v20, isles2015, isles2022, manifest
from stroke_nets.datasets.convert import Case
from stroke_nets.datasets.folds import grouped_split
from stroke_nets.datasets.small_lesions import LIMIT, is_small_in_parts, is_small_in_total
from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import sweep_below, write_whole
from stroke_nets.progress import track
from stroke_nets.scans import check
from stroke_nets.scans.reader import open_scan

DATASETS: dict[str, ModuleType] = {
    "atlas_r12": atlas_r12,
    "atlas_v20": atlas_v20,
    "isles2015": isles2015,
    "isles2022": isles2022,
    "arc": arc,
}


@dataclass
class Prepared:
    """A prepared data set: the manifest's records, the recipe, and what was left out."""

    records: list[dict[str, Any]]
    recipe: dict[str, Any]
    left_out: list[str]
    small_in_parts: int | None = None

    def summary(self) -> Iterator[str]:
        """Lines that compare what was found with what the data set should contain."""
        expected = self.recipe["expected"]
        labelled = [r for r in self.records if "label" in r]
        counts = {
            "scans": len(labelled),
            "subjects": len({r["subject"] for r in labelled}),
            "unlabelled": len(self.records) - len(labelled),
        }
        small = sum(r["lesion_voxels"] > 0 and is_small_in_total(r) for r in labelled)
        for name, count in (counts | {"small_lesions": small}).items():
            if name in expected:
                rule = f" (1 to {LIMIT - 1} voxels in all)" if name == "small_lesions" else ""
                differs = "" if count == expected[name] else "  <- differs"
                yield f"{name}{rule}: {count} of {expected[name]} expected{differs}"
        if self.small_in_parts is not None:
            yield f"small lesions, no part above {LIMIT} voxels: {self.small_in_parts}"
        empty = [r["label"] for r in labelled if not r["lesion_voxels"]]
        yield from (f"declared lesion-free: {label}" for label in empty)
        yield from (f"left out: {line}" for line in self.left_out)


def read_recipe(dataset: str) -> dict[str, Any]:
    """The recipe of a data set.

    Raises:
        UsageError: there is no such data set.
    """
    if dataset not in DATASETS:
        raise UsageError(f"data set {dataset!r}: choose one of {', '.join(DATASETS)}")
    text = resources.files("stroke_nets.datasets").joinpath(f"{dataset}.json").read_text()
    recipe: dict[str, Any] = json.loads(text)
    return recipe


def prepare(
    dataset: str, source: Path, out: Path, workers: int = 2, published: Path | None = None
) -> Prepared:
    """Convert a data set into a new folder and write its manifest.

    Originals are not modified: scans are linked, masks and resampled contrasts are new files. Files
    that already exist in ``out`` are kept.

    Args:
        dataset: name of the data set.
        source: the unpacked folder.
        out: the folder to write.
        workers: number of cases processed in parallel.
        published: the authors' list of folds, instead of the recipe's (`manifest.refold`).

    Returns:
        The prepared data set.

    Raises:
        UsageError: an argument is invalid, or ``out`` contains something else.
        DataError: with one line per invalid file; no manifest is written.
    """
    recipe = read_recipe(dataset)
    if not source.is_dir():
        raise UsageError(f"{source}: no such folder; give the folder that was unpacked")
    cases, left_out = DATASETS[dataset].find_cases(source)
    _claim(source, out, recipe)
    with ThreadPoolExecutor(workers) as pool:  # the slow parts release the GIL
        done = pool.map(partial(_attempt, DATASETS[dataset], out), cases)
        results = list(track(done, f"preparing {dataset}", len(cases)))
    problems = [line for result in results if isinstance(result, list) for line in result]
    if problems:
        raise DataError("\n".join(problems))
    records = [result for result in results if isinstance(result, dict)]
    assign(records, recipe["split"])
    provenance = {
        "command": f"stroke-nets prepare {dataset} SOURCE OUT",
        "version": stroke_nets.__version__,
        "recipe": recipe,
        "left_out": left_out,
    }
    path = out / manifest.MANIFEST
    licence = recipe["licence"]
    manifest.write(path, name=dataset, licence=licence, records=records, provenance=provenance)
    if published is not None:
        manifest.refold(path, path, published=published)
    parts = _count_small(out, records) if "small_lesions" in recipe["expected"] else None
    return Prepared(records, recipe, left_out, parts)


def _count_small(out: Path, records: list[dict[str, Any]]) -> int:
    """Cases in which no single lesion exceeds the limit: the code's alternative definition."""
    masks = (open_scan(out / r["label"]) for r in records if r.get("lesion_voxels"))
    return sum(is_small_in_parts(np.asarray(mask.dataobj)) for mask in masks)


def assign(records: list[dict[str, Any]], split: dict[str, Any]) -> None:
    """Assign labelled records the recipe's folds or split; others are unlabelled."""
    labelled = [r for r in records if "label" in r]
    for record in records:
        if "label" not in record:
            record["split"] = "unlabelled"
    if split["method"] == "size_balanced_folds":
        folds = min(split["folds"], len({r["subject"] for r in labelled}))
        manifest.deal_folds(labelled, folds, split["seed"])
    else:
        share = split["test"] / (split["train"] + split["test"])
        subjects = [r["subject"] for r in labelled]
        parts = grouped_split(subjects, round(share * len(labelled)), split["seed"])
        for record, part in zip(labelled, parts, strict=True):
            record["split"] = part


def _attempt(module: ModuleType, out: Path, case: Case) -> dict[str, Any] | list[str]:
    """One case's record, or the problems of its files."""
    try:
        names = module.convert(case, out)
        record = manifest.describe(
            out,
            subject=case.subject,
            session=case.session,
            image=names.pop("image"),
            label=names.pop("label"),
            companions=names,
        )
        made = manifest.as_case(out, record, out)
        found = check.check_cases([made], check.Rules(), workers=1)
    except DataError as error:
        return [str(error)]
    return [str(f) for f in found if not f.notice] or record


def _claim(source: Path, out: Path, recipe: dict[str, Any]) -> None:
    """Mark a new folder as this data set's, or refuse one that contains something else."""
    mark = out / "dataset_description.json"
    name = f"{recipe['title']}, prepared by stroke-nets"
    advice = "choose another folder"
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UsageError(f"{out}: inside the data set's own folder; {advice}")
    sweep_below(out)
    if mark.is_file():
        if json.loads(mark.read_text()).get("Name") != name:
            raise UsageError(f"{out}: holds another data set; {advice}")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: holds something other than {recipe['name']}; {advice}")
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": recipe["licence"],
        "GeneratedBy": [{"Name": "stroke-nets prepare", "Version": stroke_nets.__version__}],
    }
    write_whole(mark, json.dumps(content, indent=1) + "\n")
