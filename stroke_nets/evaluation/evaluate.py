"""Compare saved masks with the truth and write result files.

The bundles (`evaluate`) and the command line (`evaluate_folder`) differ only in how they find the
cases.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pandas as pd

from stroke_nets.datasets import manifest
from stroke_nets.errors import DataError, UsageError
from stroke_nets.evaluation.case import case_metrics
from stroke_nets.evaluation.derivative import (
    LesionMask,
    entities,
    fits,
    is_derivative,
    lesion_masks,
)
from stroke_nets.evaluation.lesions import CONNECTIVITY, Connectivity
from stroke_nets.evaluation.summary import POLICIES, summarize
from stroke_nets.files import staged
from stroke_nets.inference.inputs import bare
from stroke_nets.inspection.plain_config import read_config
from stroke_nets.progress import track
from stroke_nets.runs.processes import in_processes
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.contrast import FOLDERS
from stroke_nets.scans.discovery import is_mask, scans_below
from stroke_nets.scans.formats import SPELLED
from stroke_nets.scans.reader import open_scan
from stroke_nets.scans.voxels import require_mask
from stroke_nets.scans.writer import mask_path
from stroke_nets.text_table import text_table
from stroke_nets.transforms.load_scan import as_nifti

Truth = Callable[[dict[str, str]], nib.Nifti1Image]
FORMULA = ("=", "+", "-", "@")  # cells of cases.csv that begin so are run by spreadsheets
NAMES = ("subject", "session", "image", "label")
# Importing torch and MONAI takes a worker about as long as this many cases.
CASES_PER_WORKER = 16


@dataclass(frozen=True)
class Comparison:
    """A prediction to compare with its truth.

    Attributes:
        names: the case's entries in `cases.csv`, with the keys of `NAMES`.
        files: absolute paths for the truth's loader: `label` and optionally `image`.
        candidates: possible paths of the prediction, the most likely first.
    """

    names: dict[str, str]
    files: dict[str, str]
    candidates: tuple[Path, ...]

    def prediction(self) -> Path | None:
        """The first candidate that exists."""
        return next((path for path in self.candidates if path.is_file()), None)


@dataclass(frozen=True)
class EvaluationOptions:
    """Policy for empty masks, connectivity of lesions, processes, and the segment to read.

    Raises:
        UsageError: the policy or connectivity is unknown, or the number of processes is below 1.
    """

    policy: str = "paper"
    connectivity: Connectivity = CONNECTIVITY
    workers: int = 2
    segment: str | None = None

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.policy not in POLICIES:
            raise UsageError(f"policy {self.policy!r}: choose one of {', '.join(POLICIES)}")
        if self.connectivity not in get_args(Connectivity):
            raise UsageError(f"connectivity {self.connectivity}: choose 6, 18 or 26")
        if self.workers < 1:
            raise UsageError(f"workers is {self.workers}: give 1 or more")


def evaluate(
    data: Sequence[dict[str, Any]],
    dataset_dir: str,
    output_dir: str,
    *,
    truth: Callable[[dict], dict],
    info: dict[str, Any],
    **options: Any,
) -> None:
    """Write ``cases.csv`` and ``summary.json`` into a bundle's run folder.

    Args:
        data: cases with ``image``, ``label`` and ``record``.
        dataset_dir: the data root; predictions mirror its tree.
        output_dir: the run folder, which contains ``predictions``.
        truth: loads a case's ``label`` on the grid of the predictions.
        info: bundle, overlay, fold and space, for the summary.
        options: fields of `EvaluationOptions`.

    Raises:
        DataError: a prediction is missing, misplaced, damaged or on another grid.
    """
    run = Path(output_dir)
    cases = [_of_record(case, run / "predictions") for case in data]
    known = {"parameters": _parameters(run)}
    strays = _strays(cases, Path(dataset_dir), run / "predictions")
    load = functools.partial(_loaded_truth, truth)
    _evaluate(cases, strays, run, load, info | known, EvaluationOptions(**options))


def evaluate_folder(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    part: str = "all",
    fold: int = 0,
    desc: str | None = None,
    **options: Any,
) -> None:
    """Write ``cases.csv`` and ``summary.json`` for a folder of masks.

    Args:
        predictions: folder of masks, or a run folder with masks in ``predictions``. Each has the
            relative path of its truth, or of its scan with ``_pred`` before the extension. Or a
            BIDS derivative, such as the output of `predict`: see `derivative.fits`.
        truth: folder of masks, or a manifest in the data root.
        out: folder to write into.
        part: part of a manifest: ``heldout``, ``train`` or ``all``.
        fold: held-out fold of a manifest.
        desc: the ``desc-`` entity of the masks, for a derivative with several masks per scan.
        options: fields of `EvaluationOptions`.

    Raises:
        UsageError: a folder or manifest is missing or empty, or both folders are the same.
        DataError: a prediction is missing, misplaced, damaged or on another grid.
    """
    if not predictions.is_dir():
        raise UsageError(f"{predictions}: no such folder; give the folder of the predictions")
    folder = predictions / "predictions"
    folder = folder if folder.is_dir() else predictions
    bids = is_derivative(folder)
    if desc and not bids:
        raise UsageError(f"--desc {desc}: {folder} is no BIDS derivative; leave it out")
    if truth.is_dir():
        root, cases = truth, _of_folder(truth, folder, bids)
    else:
        root = truth.parent
        listed = manifest.datalist(str(root), part, manifest=str(truth), fold=fold)
        cases = [_of_record(case, folder) for case in listed]
    if root.resolve() == folder.resolve():
        raise UsageError(f"{folder}: predictions and truth are the same folder; give two")
    info = {"predictions": predictions.name, "truth": truth.name}  # no absolute paths
    strays: Iterable[Path] = ()
    folders = [*([truth] if truth.is_dir() else ()), folder]
    foreign = [one for place in folders for one in scans_below(place)[1] if not one.notice]
    if foreign:
        problems = [(Path(one.file).name, str(one)) for one in foreign]
        raise DataError(_problem_table(out, problems))
    if bids:
        masks = lesion_masks(folder, desc)
        cases = [_of_derivative(case, folder, masks) for case in cases]
        others = len(masks) - len({case.prediction() for case in cases} - {None})
        print(f"{folder}: lesion masks of other scans or spaces, left out: {others}")
    else:
        strays = _strays(cases, root, folder)
    out.mkdir(parents=True, exist_ok=True)
    chosen = EvaluationOptions(**options)
    stored = functools.partial(_stored_truth, segment=chosen.segment)
    _evaluate(cases, strays, out, stored, info, chosen)


def _of_record(case: dict[str, Any], folder: Path) -> Comparison:
    """A case of a manifest, whose predicted mask is named after the scan."""
    record = case["record"]
    if "label" not in case:
        raise DataError(f"{record['image']}: no label is known; evaluate the cases of a manifest")
    label = _stem(record["label"])
    return Comparison(
        names={key: str(record.get(key, "")) for key in NAMES},
        files={key: case[key] for key in ("image", "label")},
        candidates=(mask_path(folder, record["image"]), *_candidates(folder, label)),
    )


def _of_folder(truth: Path, folder: Path, bids: bool) -> list[Comparison]:
    """The cases of a folder of masks, by their relative paths; BIDS folders also contain scans."""
    masks = scans_below(truth, modalities=FOLDERS.values() if bids else ["anat"])[0]
    if bids:
        masks = [path for path in masks if is_mask(path, truth)] or masks
    if not masks:
        raise UsageError(f"{truth}: no mask in it; give the folder of the truth")
    cases = []
    for mask in masks:
        label = mask.relative_to(truth).as_posix()
        names = dict.fromkeys(NAMES, "") | {"subject": _stem(label), "label": label}
        cases.append(Comparison(names, {"label": str(mask)}, _candidates(folder, _stem(label))))
    return cases


def _of_derivative(case: Comparison, folder: Path, masks: Sequence[LesionMask]) -> Comparison:
    """A case whose prediction is found by the name of its scan or true mask.

    Raises:
        DataError: several masks of the derivative match.
    """
    name = case.names["image"] or case.names["label"]
    known = [entities(Path(name).name), entities(name.replace("/", "_"))]  # as `predict` names it
    found = [mask for mask in masks if any(fits(mask.entities, one) for one in known)]
    if len(found) > 1:
        several = ", ".join(mask.path.name for mask in found)
        raise DataError(f"{name}: several masks fit: {several}; choose one by --desc")
    missing = folder / "**" / f"sub-{known[0]['sub']}_*_mask.nii.gz"
    return replace(case, candidates=tuple(mask.path for mask in found) or (missing,))


def _stem(name: str) -> str:
    """A path without the ending of its format."""
    return (Path(name).parent / bare(Path(name).name)).as_posix()


def _candidates(folder: Path, stem: str) -> tuple[Path, ...]:
    return tuple(folder / f"{stem}{post}{end}" for post in ("_pred", "") for end in SPELLED)


def _evaluate(
    cases: Sequence[Comparison],
    strays: Iterable[Path],
    out: Path,
    truth: Truth,
    info: dict[str, Any],
    options: EvaluationOptions,
) -> None:
    """Evaluate all cases, or report all problems in one table and write nothing."""
    problems = [
        (_title(case), f"no prediction; expected {case.candidates[0]}")
        for case in cases
        if case.prediction() is None
    ]
    problems += [("-", f"{stray} belongs to no case; move it") for stray in strays]
    problems += [
        (name, "a spreadsheet would take its name for a formula; rename it")
        for case in cases
        for name in case.names.values()
        if name.startswith(FORMULA)
    ]
    found = [case for case in cases if case.prediction() is not None]
    rows = []
    for case, figures in zip(found, _all_figures(found, truth, options), strict=True):
        if isinstance(figures, str):
            problems.append((_title(case), figures))
        else:
            prediction = Path(os.path.relpath(str(case.prediction()), out)).as_posix()
            rows.append(case.names | {"prediction": prediction} | figures)
    if problems:
        raise DataError(_problem_table(out, problems))
    summary = info | {"connectivity": options.connectivity} | summarize(rows, options.policy)
    with staged(out) as folder:  # in the order of their names, so that the summary comes last
        (folder / "cases.csv").write_text(pd.DataFrame(rows).to_csv(index=False), encoding="utf-8")
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        (out / "summary.json").unlink(missing_ok=True)  # never beside the cases of another run
    print(f"wrote {out / 'cases.csv'} and {out / 'summary.json'}")


def _title(case: Comparison) -> str:
    return " ".join(filter(None, [case.names["subject"], case.names["session"]]))


def _strays(cases: Sequence[Comparison], root: Path, folder: Path) -> Iterator[Path]:
    """Predicted masks whose names match no scan or mask of the data root."""
    claimed = {case.prediction() for case in cases}
    for path in scans_below(folder)[0]:
        stem = _stem(path.relative_to(folder).as_posix())
        names = [name + end for name in (stem, stem.removesuffix("_pred")) for end in SPELLED]
        if path not in claimed and not any((root / name).is_file() for name in names):
            yield path


def _all_figures(
    cases: Sequence[Comparison], truth: Truth, options: EvaluationOptions
) -> Iterator[dict[str, Any] | str]:
    """The metrics of each case, in order, or its problem."""
    work = functools.partial(_figures, truth=truth, options=options)
    workers = min(options.workers, len(cases) // CASES_PER_WORKER)
    if workers < 2:
        yield from track(map(work, cases), "evaluating", len(cases))
        return
    yield from track(in_processes(work, cases, workers), "evaluating", len(cases))


def _figures(case: Comparison, *, truth: Truth, options: EvaluationOptions) -> dict[str, Any] | str:
    """Compare one prediction with its truth, both reoriented to RAS."""
    path = case.prediction()
    try:
        label = truth(case.files)
        prediction = open_scan(str(path), segment=options.segment)
        require_same_grid(label, prediction, str(path))
        mask = require_mask(str(path), np.asanyarray(prediction.dataobj))
    except DataError as error:
        return str(error)
    masks = (label, nib.Nifti1Image(mask, prediction.affine))
    label, prediction = map(nib.as_closest_canonical, masks)
    predicted, true = (np.asanyarray(scan.dataobj) > 0 for scan in (prediction, label))
    spacing = nib.affines.voxel_sizes(label.affine)
    return dict(case_metrics(predicted, true, spacing, options.connectivity))


def _stored_truth(files: dict[str, str], segment: str | None) -> nib.Nifti1Image:
    """A mask as stored, in bytes, whereas a bundle's transforms convert it to float32."""
    scan = open_scan(files["label"], segment=segment)
    return nib.Nifti1Image(require_mask(files["label"], np.asanyarray(scan.dataobj)), scan.affine)


def _loaded_truth(load: Callable[[dict], dict], files: dict[str, str]) -> nib.Nifti1Image:
    """A mask as a bundle's transforms load it."""
    try:
        return as_nifti(load(dict(files))["label"])
    except RuntimeError as error:  # MONAI wraps a transform's error
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise


def _problem_table(out: Path, problems: Sequence[tuple[str, str]]) -> str:
    head = f"{out}: {len(problems)} problems, so nothing was written; fix them and repeat"
    return f"{head}\n{text_table(('case', 'problem'), problems)}"


def _parameters(run: Path) -> int | None:
    """The network's parameter count from `configuration.resolved`; None without training."""
    config = run / "config.yaml"
    return read_config(config).get("parameters") if config.is_file() else None
