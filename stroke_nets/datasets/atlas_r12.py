"""ATLAS R1.2: 229 T1w scans of 220 people after stroke, in MNI space, with manual masks.

Licence: ICPSR's terms of use, by application; redistribution is not allowed
(https://doi.org/10.3886/ICPSR36684, Liew et al., Scientific Data 2018,
https://doi.org/10.1038/sdata.2018.11; overview of the previous release:
http://fcon_1000.projects.nitrc.org/indi/retro/atlas_R1.html).

Layout: ``standard_MNI/standard_part*/c0003/c0003s0002t01/`` holds ``c0003s0002t01_t1w_stx.nii.gz``
and one or more of ``c0003s0002t01_LesionSmooth_stx.nii.gz``, ``..._LesionSmooth_1_stx.nii.gz``.
c: cohort, s: subject, t: time point; masks are 0 and 255, one per lesion. Files in native space,
without ``_stx``, are ignored.
"""

import re
from pathlib import Path

from stroke_nets.datasets.convert import Case, bring_mask, bring_scan, nothing_found

SCAN = re.compile(r"(c\d+s\d+)(t\d+)_t1w(?:_deface)?_stx\.nii(?:\.gz)?")


def find_cases(source: Path) -> tuple[list[Case], list[str]]:
    """Find every scan with all its masks; nothing is left out.

    Raises:
        DataError: there is no scan.
    """
    cases = []
    for image in sorted(source.rglob("c*_stx.nii*")):
        if named := SCAN.fullmatch(image.name):
            person, time = named.groups()
            masks = sorted(image.parent.glob(f"{person}{time}_LesionSmooth*_stx.nii*"))
            lost = image.with_name(f"{person}{time}_LesionSmooth_stx.nii.gz")
            cases.append(Case(f"sub-{person}", image, masks or [lost], f"ses-{time}"))
    if not cases:
        raise nothing_found(source, "c0003s0002t01_t1w_stx.nii.gz or the like")
    return cases, []


def convert(case: Case, out: Path) -> dict[str, str | None]:
    """Link the scan and merge its masks."""
    scan = bring_scan(case, out, "T1w")
    return {"image": scan, "label": bring_mask(case, out, scan)}
