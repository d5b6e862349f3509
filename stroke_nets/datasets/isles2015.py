"""ISLES 2015 SISS: T1, T2, FLAIR and DWI of 28 sub-acute strokes with masks, FLAIR's grid at 1 mm.

Licence: CC BY 4.0 (https://doi.org/10.5281/zenodo.17736412, which replaces smir.ch; Maier et al.,
Medical Image Analysis 2017, https://doi.org/10.1016/j.media.2016.07.009).

Layout: ``SISS2015_Training/1/VSD.Brain.XX.O.MR_T1.70616/VSD.Brain.XX.O.MR_T1.70616.nii`` and, in
a folder beside it, the mask ``VSD.Brain.XX.O.OT.70618.nii``; case folders 1 to 28
(https://github.com/JakubSmid/MRI-ischemic-stroke-segmentation, datasets/). Older copies hold
MetaImages (.mha, .mhd). The 36 test cases have no mask. Only T1 is used.
"""

from pathlib import Path

from stroke_nets.datasets.convert import METAIMAGE, Case, bring_mask, bring_scan, nothing_found
from stroke_nets.files import is_hidden
from stroke_nets.scans.formats import ENDINGS


def find_cases(source: Path) -> tuple[list[Case], list[str]]:
    """Find every T1 with a mask; list the folders without one.

    Raises:
        DataError: there is no T1.
    """
    cases, left_out = [], []
    for image in _volumes(source, ".MR_T1."):
        inside = image.parent.name.startswith("VSD.")
        folder = image.parents[1] if inside else image.parent
        masks = _volumes(folder, ".OT.")
        if masks:
            number = folder.name.zfill(2) if folder.name.isdigit() else folder.name
            cases.append(Case(f"sub-{number}", image, masks))
        else:
            left_out.append(f"{folder.relative_to(source)}: no mask")
    if not cases:
        raise nothing_found(source, "VSD.Brain.XX.O.MR_T1.*.nii with a VSD.Brain.XX.O.OT.*.nii")
    return cases, left_out


def convert(case: Case, out: Path) -> dict[str, str | None]:
    """Link or convert the T1 and its mask."""
    scan = bring_scan(case, out, "T1w")
    return {"image": scan, "label": bring_mask(case, out, scan)}


def _volumes(folder: Path, kind: str) -> list[Path]:
    """The volumes below a folder whose names contain ``kind``."""
    found = folder.rglob(f"*{kind}*")
    ends = (*ENDINGS, *METAIMAGE)
    return sorted(
        p for p in found if p.name.endswith(ends) and not p.is_dir() and not is_hidden(p, folder)
    )
