"""Predict scan after scan: a bad one does not stop the others, and nothing is overwritten."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import Evaluator
from torch.utils.data import Subset

from stroke_nets.errors import DataError, UsageError
from stroke_nets.files import hidden_folder
from stroke_nets.inference.progress import Steps
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.runs.requirements import require_device
from stroke_nets.scans.check import shared_names
from stroke_nets.scans.writer import mask_path

logger = logging.getLogger(__name__)


def start_inference(
    cases: Sequence[Mapping[str, Any]],
    predictions_dir: str,
    *,
    device: Any,
    overwrite: bool = False,
) -> None:
    """Check the device and where the masks go, before anything is loaded or written.

    Called from a bundle's ``initialize``.

    Args:
        cases: of `stroke_nets.datasets.manifest.datalist`.
        predictions_dir: mirrors the data root's tree.
        device: a `torch.device`, or its name.
        overwrite: masks that are there may be replaced.

    Raises:
        DataError: two scans would have masks of one name.
        UsageError: the device is not there, or a mask is.
        OSError: the folder cannot be written.
    """
    require_device(device)
    require_new_masks(cases, predictions_dir, overwrite)
    with hidden_folder(Path(predictions_dir)):
        pass  # it can be written


def require_new_masks(
    cases: Sequence[Mapping[str, Any]], predictions_dir: str, overwrite: bool = False
) -> None:
    """Refuse to write one mask over another, be it there already or of another scan.

    Args:
        cases: of `stroke_nets.datasets.manifest.datalist`.
        predictions_dir: mirrors the data root's tree.
        overwrite: masks that are there may be replaced.

    Raises:
        DataError: two scans would have masks of one name.
        UsageError: a mask is there.
    """
    twins = shared_names([Path(case["image"]) for case in cases])
    if twins:
        raise DataError("\n".join(map(str, twins)))
    masks = [mask_path(Path(predictions_dir), case["record"]["image"]) for case in cases]
    there = [mask for mask in masks if mask.exists()]
    if there and not overwrite:
        raise UsageError(
            f"{there[0]}: is there already ({len(there)} of {len(masks)} masks); choose another "
            "--output_dir or say --overwrite true"
        )


def predict_each(evaluator: Evaluator, dataset: Dataset) -> None:
    """Run an evaluator on one scan after the other; those that fail are listed at the end.

    Args:
        evaluator: predicts a case and saves its mask.
        dataset: the cases and their preprocessing.

    Raises:
        DataError: scans failed; the masks of all others are written.
    """
    failed: list[str] = []
    raised: list[BaseException] = []
    total = len(dataset)
    evaluator.state.epoch_length = 1  # else each scan is run as often as there are scans
    handler = evaluator.add_event_handler(Events.EXCEPTION_RAISED, _keep, raised)
    with handler, Steps(total) as steps:
        for index in range(total):
            image = dataset.data[index]["image"]
            steps.scan(Path(image).name)
            steps.step("preprocessing and segmentation")
            evaluator.data_loader = DataLoader(Subset(dataset, [index]), batch_size=1)
            evaluator.run()
            if raised:
                failed.append(_line(image, raised.pop()))
                logger.warning("%s", failed[-1])
    if failed:
        head = f"{len(failed)} of {total} scans failed, {total - len(failed)} masks were written"
        raise DataError("\n".join([f"{head}:", *failed]))


def _keep(engine: Engine, error: BaseException, raised: list[BaseException]) -> None:
    """Keep what one scan raised; what stops all of them goes on."""
    memory = isinstance(error, torch.OutOfMemoryError)  # another scan may be smaller
    if not isinstance(error, Exception) or (
        isinstance(find_error(error), UsageError) and not memory
    ):
        raise error
    raised.append(error)


def _line(image: str, error: BaseException) -> str:
    known = find_error(error)
    first = (str(error).splitlines() or [""])[0]
    return (
        str(known)
        if isinstance(known, DataError)
        else f"{image}: failed ({type(error).__name__}: {first})"
    )
