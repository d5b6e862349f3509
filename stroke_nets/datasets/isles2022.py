"""ISLES 2022: DWI, ADC and FLAIR of 250 acute and sub-acute strokes with masks drawn on the DWI.

Licence: CC BY 4.0 (https://zenodo.org/records/7960856, Hernandez Petzsche et al., Scientific
Data 2022, https://doi.org/10.1038/s41597-022-01875-5).

Layout, BIDS: ``sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz``, ``_adc``
beside it, ``anat/..._FLAIR.nii.gz`` on a grid of its own, and
``derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz``. An earlier
archive has no ``dwi`` and ``anat`` folders. Files are identified by name only.
"""

import re
from pathlib import Path

from stroke_nets.datasets.convert import Case, bring_mask, bring_other, bring_scan, nothing_found

FILE = re.compile(r"(sub-strokecase\d+)(?:_(ses-\d+))?_(dwi|adc|flair|msk)\.nii\.gz", re.IGNORECASE)
SUFFIXES = {"adc": "adc", "flair": "FLAIR"}


def find_cases(source: Path) -> tuple[list[Case], list[str]]:
    """Find every DWI with a mask, its ADC and FLAIR; list the incomplete ones.

    Raises:
        DataError: there is no DWI with a mask.
    """
    files: dict[tuple[str, str | None], dict[str, Path]] = {}
    for path in sorted(source.rglob("sub-strokecase*.nii.gz")):
        if named := FILE.fullmatch(path.name):
            files.setdefault((named[1], named[2]), {})[named[3].lower()] = path
    cases, left_out = [], []
    for (subject, session), found in sorted(files.items(), key=str):
        lacking = [kind for kind in ("dwi", "msk", "adc", "flair") if kind not in found]
        left_out += [f"{subject}: no {kind}" for kind in lacking]
        if {"dwi", "msk"} <= found.keys():
            others = {kind: found[kind] for kind in SUFFIXES if kind in found}
            cases.append(Case(subject, found["dwi"], [found["msk"]], session, others))
    if not cases:
        raise nothing_found(source, "sub-strokecase0001_ses-0001_dwi.nii.gz with its _msk.nii.gz")
    return cases, left_out


def convert(case: Case, out: Path) -> dict[str, str | None]:
    """Link the DWI, write its mask, and resample ADC and FLAIR onto the DWI."""
    scan = bring_scan(case, out, "dwi")
    others = {k: bring_other(case, out, scan, k, SUFFIXES[k]) for k in case.others}
    return {"image": scan, "label": bring_mask(case, out, scan), **others}
