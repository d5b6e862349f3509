"""Self-training: label scans that have no mask by the mean of trained networks.

Source: MSCSA (Shang et al., ISBI 2025, arXiv:2501.15423). There, the models of all five folds
make one set of labels, so that the labels a fold trains on know its validation cases. Here a set
is made for one fold, by runs that never saw that fold's cases, unless ``published`` is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stroke_nets.datasets import manifest
from stroke_nets.errors import UsageError
from stroke_nets.inference.method import Method, find
from stroke_nets.inference.outputs import header_codes, write_volume
from stroke_nets.inference.progress import Steps
from stroke_nets.inference.weights import choose
from stroke_nets.inspection.consent import require_known_code
from stroke_nets.scans.check import require_fit
from stroke_nets.scans.discovery import identity
from stroke_nets.scans.reader import Scan
from stroke_nets.scans.writer import mask_path

FOLDER = "pseudo_labels"
CASES = ("dataset_dir", "manifest", "fold")  # which a run was trained on
RECIPE = ("preprocessing", "inferer", "patch_size", "masked_zscore", "flips")


class TrainedRun:
    """A finished training: its configuration, and what its checkpoint predicts.

    Args:
        folder: the run folder, with ``config.yaml`` and ``checkpoints/last.pt``.
        device: where the network runs.
        trust: use a configuration whose code comes from elsewhere.

    Raises:
        UsageError: the folder holds no finished training, or code from elsewhere.
    """

    def __init__(self, folder: Path, device: torch.device, trust: bool = False) -> None:
        """Read the configuration and the weights."""
        self.folder = folder
        if not (folder / "config.yaml").is_file():
            raise UsageError(f"--run {folder}: no config.yaml; give the folder of a training")
        self.config = require_known_code(folder / "config.yaml", trust)
        if missing := [key for key in CASES if key not in self.config]:
            raise UsageError(
                f"--run {folder}: config.yaml does not say {', '.join(missing)}; train again"
            )
        file = folder / "checkpoints" / "last.pt"
        (weights,) = choose([str(self.config.get("bundle"))], [file], trust=trust)
        self.method = Method(weights, device, register=False)  # as the training will read them

    def subjects(self) -> set[str]:
        """Who it was trained on."""
        where = {key: self.config[key] for key in CASES}
        cases = manifest.datalist(where.pop("dataset_dir"), "train", **where)
        return {case["record"]["subject"] for case in cases}


def pseudo_label(
    dataset_dir: Path,
    runs: Sequence[Path],
    *,
    fold: int | None,
    image: str | None = None,
    source: Path | None = None,
    device: str = "cpu",
    trust: bool = False,
    folder: str | None = None,
) -> Path:
    """Write masks of unlabelled scans, and a manifest of them and the labelled ones.

    Args:
        dataset_dir: the data root; masks go to its ``pseudo_labels`` folder.
        runs: folders of finished trainings of one recipe, which vote by mean probabilities.
        fold: the fold that will train on the masks; None for the published way, with one set of
            masks for all folds.
        image: glob of the scans to label; by default the manifest's unlabelled ones.
        source: manifest of the labelled scans; by default ``manifest.json`` in ``dataset_dir``.
        device: where the networks run.
        trust: use runs whose configuration holds code from elsewhere.
        folder: of the masks; by default ``fold<k>``, or ``published``.

    Returns:
        The manifest, which has the labelled records and, for training only, the new ones.

    Raises:
        UsageError: a run is unfinished, of another recipe or saw the fold's held-out cases; or
            there is nothing to label; or labels are there already.
        DataError: a scan or the manifest cannot be used.
    """
    whole = manifest.content(source or dataset_dir / manifest.MANIFEST)
    folder = folder or ("published" if fold is None else f"fold{fold}")
    out = dataset_dir / FOLDER / folder
    sources = [TrainedRun(run, torch.device(device), trust) for run in runs]
    _require_one_recipe(sources)
    if fold is not None:
        _require_unseen(sources, whole["records"], fold)
    if (out / manifest.MANIFEST).exists():
        raise UsageError(f"{out}: holds pseudo labels; delete the folder to make them again")
    scans = _unlabelled(dataset_dir, whole["records"], image)
    require_fit([{"image": str(dataset_dir / scan)} for scan in scans])
    _segment(dataset_dir, scans, sources, out)
    whole["records"] = [r for r in whole["records"] if "label" in r]
    for scan in scans:
        label = mask_path(out, scan, "pseudo").relative_to(dataset_dir).as_posix()
        subject, session = identity(scan)
        record = manifest.describe(
            dataset_dir, subject=subject, session=session, image=scan, label=label
        )
        whole["records"].append(record | {"split": "train", "pseudo_fold": fold})
    names = [Path(*run.resolve().parts[-3:]).as_posix() for run in runs]  # bundle/overlay/fold
    whole["provenance"]["pseudo_labels"] = {"fold": fold, "runs": names}
    manifest.write(out / manifest.MANIFEST, **whole)
    return out / manifest.MANIFEST


def _unlabelled(root: Path, records: Sequence[dict[str, Any]], image: str | None) -> list[str]:
    """Scans without a mask, relative to the data root."""
    known = {record["image"] for record in records if "label" in record}
    scans = [record["image"] for record in records if "label" not in record]
    if image is not None:
        scans = [path.relative_to(root).as_posix() for path in root.glob(image)]
    scans = sorted(s for s in scans if s not in known and not s.startswith(FOLDER))
    if not scans:
        where = "manifest" if image is None else f"--image {image!r}"
        raise UsageError(f"{root}: no scan without a mask ({where}); name some with --image GLOB")
    return scans


def _require_one_recipe(runs: Sequence[TrainedRun]) -> None:
    for run in runs[1:]:
        for key in RECIPE:
            if run.config.get(key) != runs[0].config.get(key):
                raise UsageError(
                    f"--run {run.folder}: its {key} is not that of {runs[0].folder}; "
                    "name runs of one recipe"
                )


def _require_unseen(
    runs: Sequence[TrainedRun], records: Sequence[dict[str, Any]], fold: int
) -> None:
    held_out = {
        record["subject"]
        for record in records
        if record.get("fold") == fold or record.get("split") in ("validation", "test")
    }
    if not held_out:
        raise UsageError(f"--fold {fold}: the manifest holds no case out there; choose another")
    for run in runs:
        seen = sorted(held_out & run.subjects())
        if seen:
            raise UsageError(
                f"--run {run.folder}: was trained on {seen[0]} ({len(seen)} in all) of fold "
                f"{fold}'s held-out cases; name runs of fold {fold}, or say --published"
            )


def _segment(root: Path, scans: Sequence[str], runs: Sequence[TrainedRun], out: Path) -> None:
    methods = [run.method for run in runs]
    with Steps(len(scans)) as steps:
        for name in scans:
            steps.scan(name)
            scan = Scan(root / name)
            found = find(scan, methods, steps)
            mask = methods[0].mask(found.probability, scan.grid.affine).numpy() > 0
            path = mask_path(out, name, "pseudo")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, mask, scan.grid.affine, header_codes(scan))
