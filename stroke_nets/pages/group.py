"""The group level of a BIDS App: tables of all participants and of changes between sessions."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stroke_nets.errors import UsageError
from stroke_nets.evaluation.change import change
from stroke_nets.evaluation.regions import Atlas
from stroke_nets.files import write_whole
from stroke_nets.pages.cohort import Row, cases_of, write_index
from stroke_nets.pages.prediction_case import PredictionCase
from stroke_nets.registration.volume import brain

ENTITIES = re.compile(r"(?P<participant_id>sub-[^_]+)(?:_(?P<session_id>ses-[^_]+))?(?P<rest>.*)")
OF_A_RATER = ("stands_out", "rating", "notes")


def write_group(out_dir: Path, atlas: tuple[Path, Path] | None = None) -> list[Path]:
    """Write ``group_lesions.tsv``, ``group_changes.tsv`` and the cohort page.

    The first has one row for each participant, session and method, with the columns of
    ``cohort.csv``; the second one for each two sessions that follow each other (`change`, on the
    template's grid), and is not written if nobody has two. ``n/a`` where nothing is known. With an
    atlas, ``group_regions.tsv`` has one row for each region that a mask touches.

    Args:
        out_dir: output folder of ``predict``.
        atlas: image and table of its regions, as `Atlas.read` takes them.

    Returns:
        The paths of the tables.

    Raises:
        UsageError: there are no predictions.
        DataError: a file of a prediction cannot be read.
    """
    rows = [Row(case, folder) for case, folder in cases_of(out_dir)]
    if not rows:
        raise UsageError(f"{out_dir}: no predictions; run the level 'participant' first")
    write_index(out_dir)
    lesions = [_entities(row.case) | row.facts() for row in rows]
    for one in lesions:
        for name in ("case", *OF_A_RATER):
            del one[name]
    cases = [row.case for row in rows]
    tables = {"lesions": lesions, "changes": list(changes(cases))}
    if atlas:
        tables["regions"] = list(regions(cases, *atlas))
    written = []
    for name, content in tables.items():
        if content:
            path = out_dir / f"group_{name}.tsv"
            text = pd.DataFrame(content).replace("", "n/a").to_csv(sep="\t", index=False)
            write_whole(path, text)
            written.append(path)
    return written


def changes(cases: Sequence[PredictionCase]) -> Iterator[dict[str, Any]]:
    """What changed between the sessions of a participant, in the order of their labels.

    Sessions whose masks are not there on the template's grid are passed over.
    """
    template = brain()
    voxel_ml = abs(float(np.linalg.det(template.affine[:3, :3]))) / 1000
    series: dict[tuple[str, ...], list[PredictionCase]] = defaultdict(list)
    for case in cases:
        found = ENTITIES.fullmatch(case.name)
        if found and found["session_id"]:
            series[found["participant_id"], found["rest"], case.method].append(case)
    for (participant, _, method), visits in series.items():
        for before, after in pairwise(sorted(visits, key=lambda case: case.name)):
            masks = [one.mask_on(template.voxels.shape, template.affine) for one in (before, after)]
            if masks[0] is not None and masks[1] is not None:
                sessions = [_entities(one)["session_id"] for one in (before, after)]
                named = dict(zip(("session_before", "session_after"), sessions, strict=True))
                yield (
                    {"participant_id": participant, **named, "method": method}
                    | change(masks[0], masks[1], voxel_ml)
                )


def regions(cases: Sequence[PredictionCase], atlas: Path, labels: Path) -> Iterator[dict[str, Any]]:
    """The regions of an atlas that each mask touches, if it is there on the template's grid."""
    template = brain()
    grid = (template.voxels.shape, template.affine)
    read = Atlas.read(atlas, labels, *grid)
    for case in cases:
        mask = case.mask_on(*grid)
        if mask is not None:
            for row in read.overlap(mask):
                yield _entities(case) | {"method": case.method} | row


def _entities(case: PredictionCase) -> dict[str, Any]:
    found = ENTITIES.fullmatch(case.name)
    assert found is not None  # predict writes no other names
    return {name: found[name] or "n/a" for name in ("participant_id", "session_id")}
