"""The pages of ``stroke-nets predict``: a report and a viewer for each case.

They show the result files, the scan's voxels and its grid, but no text from a header.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stroke_nets.files import whole
from stroke_nets.pages.case_figure import SIDES
from stroke_nets.pages.page import ml, without_folder, write_page
from stroke_nets.pages.prediction_case import TEMPLATE_SPACE, PredictionCase, Volumes
from stroke_nets.pages.prediction_figure import maps_png, montage_png, planes_png, thumbnail
from stroke_nets.pages.viewer import lesion_places, write_viewer
from stroke_nets.registration.quality import (
    FAIR_INFORMATION,
    FAIR_RESEMBLANCE,
    LEAST_CONTRAST,
    SCALES,
    SOME_UNSEEN,
)

# heading: the columns of lesions.csv below it; other columns have their own name as heading
COLUMNS = {
    "Lesion": ("lesion",),
    "Volume (ml)": ("volume_ml",),
    "Voxels": ("voxels",),
    "Hemisphere": ("hemisphere",),
    "Centre, MNI x, y, z (mm)": ("x_mm", "y_mm", "z_mm"),
    "Extent x, y, z (mm)": ("extent_x_mm", "extent_y_mm", "extent_z_mm"),
    "Mean probability": ("mean_probability",),
    "Mean standard deviation": ("mean_uncertainty",),
    "Touches the border": ("touches_border",),
}
# key in the sidecar's ``Registration``: its name in the table, and the expected range
CHECKS = {
    "information": (
        "Information that scan and template share (bits)",
        f"{FAIR_INFORMATION} or more",
    ),
    "resemblance": ("Correlation of scan and template", f"{FAIR_RESEMBLANCE} or more"),
    "outside": ("Share of the brain outside the field of view", f"{SOME_UNSEEN} or less"),
    "empty": ("Share of the inner brain that is as dark as air", f"{SOME_UNSEEN} or less"),
    "least_scale": ("Smallest scale of the registration", f"{SCALES[0]} or more"),
    "contrast": (
        "White matter's brightness over grey matter's",
        f"{LEAST_CONTRAST} or more in T1w",
    ),
    "most_scale": ("Largest scale of the registration", f"{SCALES[1]} or less"),
}
LOOK = (
    "Look at every mask before you use it: lesions can be missed, and normal tissue can be marked."
)
LINES = "The line is the outline of the mask."
LINES_WITH_TRUTH = "Orange: the outline of the mask; green: that of the given truth."
OWN_DATA = "the user's own data"
SIDED = ("left", "right")
RIM = 0.14  # the 95th percentile of 160 real masks: docs/predict.md, the brain cut


def write_prediction_report(sidecar: Path, scan: Path | Volumes, truth: Path | None = None) -> Path:
    """Write the report, viewer and thumbnail of a case next to its sidecar.

    Args:
        sidecar: ``..._desc-METHOD_mask.json``; the other outputs are in the same folder.
        scan: the scan on whose grid the mask lies, or the volumes if already read.
        truth: a mask on the same grid to overlay on the scan in the viewer.

    Returns:
        The path of the report.

    Raises:
        DataError: a file cannot be read or does not lie on the scan's grid.
    """
    case = PredictionCase(sidecar)
    title = case.title
    volumes = scan if isinstance(scan, Volumes) else case.volumes(scan, truth)
    report, viewer = case.beside("report.html"), case.beside("viewer.html")
    write_viewer(viewer, f"Viewer: {title}", volumes, case.worlds(), report.name, case.threshold)
    with whole(case.beside("thumbnail.jpg")) as partial:
        partial.write_bytes(thumbnail(volumes))
    (large, small), on_template = case.split(), _template(case)
    return write_page(
        report,
        "prediction.html",
        f"Lesions of {title}",
        case=case,
        viewer=viewer.name,
        cohort=_cohort(sidecar),
        sides=SIDES,
        largest=_largest(volumes),
        lines=LINES if volumes.truth is None else LINES_WITH_TRUTH,
        truth=_truth(volumes),
        sentence=sentence(case),
        limits=[*without_interval(case), *limits(case.content.get("Weights", []))],
        large=lesion_table(large),
        small=lesion_table(small),
        slices=_slices(volumes),
        checks=[*_checks(case), *_border(case), *_outside(on_template)],
        on_template=on_template,
        uncertainty=_uncertainty(volumes),
        provenance=[(name, without_folder(value)) for name, value in _flat(case.content)],
    )


def sentence(case: PredictionCase) -> str:
    """A sentence to paste into a paper: software, weights and results."""
    content = case.content
    version = next((by.get("Version", "") for by in content.get("GeneratedBy", [])), "")
    weights = " and ".join(
        f"{one.get('bundle', case.method)}, weights {str(one.get('sha256', ''))[:8]}"
        for one in content.get("Weights", [])
    )
    tool = f"stroke-nets {version}".strip() + f" ({weights or case.method})"
    begin = f"Stroke lesions were segmented on the T1-weighted scan with {tool}; "
    if not case.lesions:
        return f"{begin}none was found."
    between = ""
    if case.interval_ml:
        low, high = case.interval_ml
        level = f"{100 * case.interval_level:.0f} %"
        between = f" ({level} interval {ml(low)} to {ml(high)})"
    count = len(case.lesions)
    found = f"{count} {'lesion' if count == 1 else 'lesions'}, {len(case.split()[0])} of them"
    found += f" of at least {case.minimum_ml:g} ml"
    first = case.lesions[0]
    side = f" in the {first['hemisphere']} hemisphere" if first.get("hemisphere") in SIDED else ""
    largest = f"the largest measured {ml(float(first['volume_ml']))}{side}"
    return f"{begin}the total volume was {ml(case.total_ml)}{between} in {found}; {largest}."


def limits(weights: Sequence[dict[str, Any]]) -> list[str]:
    """The known limitations of the weights, in sentences.

    Args:
        weights: the weights in the sidecar; each may list its own ``limits``.
    """
    found = []
    for one in weights:
        trained = one.get("trained_on", OWN_DATA)
        told = [f"Trained on {trained}."]
        if trained == OWN_DATA:
            told.append("How well these weights do is known only from your own evaluation.")
        tried = {"simulated patients": "dice_simulated", "the real scans tried": "dice_real"}
        dice = [f"{one[key]:.2f} on {where}" for where, key in tried.items() if key in one]
        if dice:
            told.append(f"Mean Dice {' and '.join(dice)}; 1 is a perfect mask.")
        name = f"{one.get('bundle', 'These weights')}: " if len(weights) > 1 else ""
        found += [f"{name}{text}" for text in (*told, *one.get("limits", []))]
    return [*found, LOOK]


def without_interval(case: PredictionCase) -> list[str]:
    """Why the volume has no interval, in a sentence; empty if it has one."""
    if case.interval_ml or not case.lesions:
        return []
    known = [one for one in case.content.get("Weights", []) if "volume_ratio" in one]
    which = "volumes as small as this" if known else "these weights"
    return [f"The volume has no interval: none was measured for {which}."]


def lesion_table(lesions: Sequence[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; empty columns are left out."""
    if not lesions:
        return [], []
    known = {name for names in COLUMNS.values() for name in names}
    columns = COLUMNS | {_heading(name): (name,) for name in lesions[0] if name not in known}
    shown = {
        heading: names
        for heading, names in columns.items()
        if all(name in lesions[0] for name in names) and any(one[names[0]] for one in lesions)
    }
    rows = [
        [", ".join(_rounded(one[n]) for n in names) for names in shown.values()] for one in lesions
    ]
    return list(shown), rows


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _rounded(value: str) -> str:
    """Round a fraction to two decimals, or convert to yes or no; other values are unchanged."""
    if value in ("True", "False"):
        return "yes" if value == "True" else "no"
    try:
        return f"{float(value):.2f}" if len(value.partition(".")[2]) > 2 else value
    except ValueError:
        return value


def _cohort(sidecar: Path) -> str:
    """The URL of the cohort page, if the case is in a folder of predictions."""
    for up, folder in enumerate(sidecar.parents):
        if (folder / "dataset_description.json").is_file():
            return "../" * up + "index.html"
    return ""


def _truth(volumes: Volumes) -> dict[str, Any] | None:
    """The volume of the given truth, and its Dice with the mask, which two empty masks lack."""
    if volumes.truth is None:
        return None
    voxel_ml = float(abs(np.linalg.det(volumes.affine[:3, :3]))) / 1000
    true, found = int(volumes.truth.sum()), int(volumes.mask.sum())
    both = int((volumes.truth & volumes.mask).sum())
    dice = 2 * both / (true + found) if true + found else None
    return {"ml": true * voxel_ml, "dice": dice}


def _largest(volumes: Volumes) -> bytes | None:
    """The largest lesion in three planes."""
    lesions = lesion_places(volumes.mask, 1)
    return planes_png(volumes, lesions[0].place) if lesions else None


def _slices(volumes: Volumes) -> dict[str, Any]:
    png, slices = montage_png(volumes)
    of = int(volumes.mask.any(axis=(0, 1)).sum())
    which = f"{len(slices)} of the {of} slices with a lesion" if of else "The mask is empty; slices"
    return {"png": png, "caption": f"{which}: {', '.join(map(str, slices))}."}


def _checks(case: PredictionCase) -> Iterator[list[str]]:
    """Measures of the registration, with the expected ranges."""
    for name, value in (case.content.get("Registration") or {}).items():
        title, expected = CHECKS.get(name, (_heading(name), ""))
        yield [title, f"{value:.2f}" if isinstance(value, float) else str(value), expected]


def _border(case: PredictionCase) -> Iterator[list[str]]:
    touching = [one for one in case.lesions if one.get("touches_border") == "True"]
    yield ["Lesions that touch the border of the volume", str(len(touching)), "0"]


def _outside(on_template: dict[str, Any] | None) -> Iterator[list[str]]:
    if on_template:
        share = f"{100 * on_template['outside']:.1f} %"
        yield [
            "Share of the mask outside the template's brain",
            share,
            f"{100 * RIM:.0f} % or less",
        ]


def _template(case: PredictionCase) -> dict[str, Any] | None:
    """The mask on the template's grid, if it exists, and the picture of the registration."""
    from stroke_nets.registration.volume import brain  # nilearn takes a second

    template = brain()
    mask = case.mask_on(template.voxels.shape, template.affine)
    if mask is None:
        return None
    check = case.sidecar.with_name(f"{case.name}_to-{TEMPLATE_SPACE}_qc.png")
    return {
        "png": montage_png(Volumes(template.voxels, mask, {}, template.affine))[0],
        "space": TEMPLATE_SPACE,
        "registration": check.read_bytes() if check.exists() else None,
        "outside": float((template.voxels[mask] == 0).mean()) if mask.any() else 0.0,
    }


def _uncertainty(volumes: Volumes) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": None, "png": None, "measured": "uncertainty" in volumes.maps}
    if found["measured"] and volumes.mask.any():
        found["mean"] = float(volumes.maps["uncertainty"][volumes.mask].mean())
    if volumes.maps:
        found["png"], z = maps_png(volumes)
        found["caption"] = f"Axial slice {z}: {' and '.join(volumes.maps)}. Bright is high."
    return found


def _flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested JSON except the warnings, each with its key path."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key != "Warnings":
                yield from _flat(value, f"{name} {key}".strip())
    elif isinstance(content, list) and any(isinstance(value, dict | list) for value in content):
        for number, value in enumerate(content, start=1):
            yield from _flat(value, f"{name} {number}")
    else:
        yield name, content if isinstance(content, str) else json.dumps(content)
