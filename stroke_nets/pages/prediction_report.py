"""The pages of ``stroke-nets predict``: a report and a viewer for each case, and an index.

They read the result files, the scan's voxels and its grid; no other text of a header is shown.
"""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stroke_nets.pages.case_figure import SIDES
from stroke_nets.pages.page import facts, picture, table, write_page
from stroke_nets.pages.prediction_case import TEMPLATE_SPACE, PredictionCase, Volumes
from stroke_nets.pages.prediction_figure import maps_png, montage_png
from stroke_nets.pages.viewer import write_viewer

WARNINGS = "Warnings"
STYLE = ".warning { border-left: .3rem solid #b25d00; list-style: none; padding-left: .6rem; }"
# Columns of lesions.csv that need more than their own name.
HEADINGS = {
    "volume_ml": "Volume (ml)",
    "x_mm": "Centre, MNI x (mm)",
    "y_mm": "y (mm)",
    "z_mm": "z (mm)",
    "extent_x_mm": "Extent left-right (mm)",
    "extent_y_mm": "back-front (mm)",
    "extent_z_mm": "foot-head (mm)",
}


def write_prediction_report(sidecar: Path, scan: Path) -> Path:
    """Write the report of a case, and its viewer, beside the sidecar.

    Args:
        sidecar: ``..._desc-METHOD_mask.json``; the other outputs lie beside it.
        scan: the scan whose grid the mask lies on.

    Returns:
        The path of the report.

    Raises:
        DataError: a file that cannot be read, or that does not lie on the scan's grid.
    """
    case = PredictionCase(sidecar)
    title = f"{case.name}, {case.method}"
    volumes = case.volumes(scan)
    report, viewer = case.beside("report.html"), case.beside("viewer.html")
    back = _link(report.name, "The report of this case")
    write_viewer(viewer, f"Viewer: {title}", volumes, [f"<p>{back}</p>"])
    parts = [
        _links(case, viewer),
        _warnings(case),
        _lesions(case),
        _slices(case, volumes),
        _template(case),
        _uncertainty(volumes),
        f"<h2>Provenance</h2>\n{facts(list(_flat(case.content)))}",
    ]
    return write_page(report, f"Lesions of {title}", parts, STYLE)


def write_index(out_dir: Path) -> Path:
    """Write ``index.html`` of an output folder: a line for each case that has a report.

    Raises:
        DataError: a sidecar or table of lesions cannot be read.
    """
    rows = []
    for report in sorted(out_dir.rglob("*_desc-*_report.html")):
        prefix = report.name.removesuffix("report.html")
        case = PredictionCase(report.with_name(f"{prefix}mask.json"))
        pages = [
            _link(case.beside(f"{kind}.html").relative_to(out_dir).as_posix(), kind, case.name)
            for kind in ("report", "viewer")
        ]
        count = len(case.content.get(WARNINGS, []))
        row = [escape(case.name), " ".join(pages), escape(case.method), f"{case.load_ml:.2f}"]
        rows.append([*row, str(len(case.lesions)), str(count)])
    head = ["Case", "Pages", "Method", "Lesion load (ml)", "Lesions", "Warnings"]
    return write_page(out_dir / "index.html", "Predictions", [table("Cases", head, rows)])


def _link(target: str, text: str, of: str = "") -> str:
    label = f' aria-label="{escape(f"{text} of {of}")}"' if of else ""
    return f'<a href="{quote(target)}"{label}>{escape(text)}</a>'


def _links(case: PredictionCase, viewer: Path) -> str:
    """To the viewer, and to the index if the case lies in a folder of predictions."""
    links = [_link(viewer.name, "Look through the scan in three planes")]
    for up, folder in enumerate(case.sidecar.parents):
        if (folder / "dataset_description.json").is_file():
            links.append(_link("../" * up + "index.html", "All cases"))
            break
    return f"<p>{' | '.join(links)}</p>"


def _warnings(case: PredictionCase) -> str:
    lines = "".join(
        f"<li><strong>Warning:</strong> {escape(str(text))}</li>"
        for text in case.content.get(WARNINGS, [])
    )
    found = f'<ul class="warning">{lines}</ul>' if lines else "<p>None.</p>"
    return f"<h2>Warnings</h2>\n{found}"


def _lesions(case: PredictionCase) -> str:
    total = f"<p>Total lesion load: <strong>{case.load_ml:.2f} ml</strong>"
    text = f"<h2>Lesions</h2>\n{total} in {len(case.lesions)} components.</p>"
    if not case.lesions:
        return text
    names = case.lesions[0]
    head = [escape(HEADINGS.get(name, name.replace("_", " ").capitalize())) for name in names]
    rows = [[escape(_rounded(value)) for value in line.values()] for line in case.lesions]
    return f"{text}\n{table('Components of the mask', head, rows)}"


def _rounded(value: str) -> str:
    """A fraction to two decimals; all else as it is."""
    try:
        return f"{float(value):.2f}" if "." in value else value
    except ValueError:
        return value


def _slices(case: PredictionCase, volumes: Volumes) -> str:
    png, slices = montage_png(volumes.image, volumes.mask, volumes.affine)
    of = int(volumes.mask.any(axis=(0, 1)).sum())
    which = f"{len(slices)} of the {of} slices with a lesion" if of else "The mask is empty; slices"
    numbers = ", ".join(map(str, slices))
    caption = f"{which}: {numbers}. The line is the outline of the mask. {SIDES}"
    return f"<h2>Slices</h2>\n{picture(png, f'{case.name}, axial slices. {caption}', caption)}"


def _template(case: PredictionCase) -> str:
    """The mask on the template, and the picture by which the registration is judged."""
    from stroke_nets.registration.volume import brain  # nilearn takes a second

    template = brain()
    mask = case.mask_on(template.voxels.shape, template.affine)
    if mask is None:
        return "<h2>On the template</h2>\n<p>The mask is not there on the template's grid.</p>"
    png, _ = montage_png(template.voxels, mask, template.affine)
    caption = f"The mask's outline on the template's brain, {TEMPLATE_SPACE}."
    pictures = [picture(png, f"{case.name}: {caption}", caption)]
    check = case.sidecar.with_name(f"{case.name}_to-{TEMPLATE_SPACE}_qc.png")
    if check.exists():
        caption = "The template's edges over the registered scan: they must follow the brain."
        pictures.append(picture(check.read_bytes(), f"{case.name}: {caption}", caption))
    return "\n".join(["<h2>On the template</h2>", *pictures])


def _uncertainty(volumes: Volumes) -> str:
    parts = ["<h2>Uncertainty</h2>"]
    if "uncertainty" not in volumes.maps:
        parts.append("<p>Not measured; <code>--tta</code> or several methods measure it.</p>")
    elif volumes.mask.any():
        mean = volumes.maps["uncertainty"][volumes.mask].mean()
        parts.append(f"<p>Mean standard deviation in the mask: <strong>{mean:.3f}</strong>.</p>")
    if volumes.maps:
        png, z = maps_png(volumes)
        caption = (
            f"Axial slice {z}: {' and '.join(volumes.maps)}; the line is the "
            "outline of the mask. Bright is high."
        )
        parts.append(picture(png, caption, caption))
    return "\n".join(parts)


def _flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested JSON, each with the path of its names."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key != WARNINGS:
                yield from _flat(value, f"{name} {key}".strip())
    elif isinstance(content, list) and any(isinstance(value, dict | list) for value in content):
        for number, value in enumerate(content, start=1):
            yield from _flat(value, f"{name} {number}")
    else:
        yield name, content if isinstance(content, str) else json.dumps(content)
