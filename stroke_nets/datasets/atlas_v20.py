"""ATLAS v2.0: 655 T1w scans with a mask and 300 without, in MNI152NLin2009aSym at 1 mm.

Licence: the terms of use of ATLAS, by application; redistribution is not allowed
(http://fcon_1000.projects.nitrc.org/indi/retro/atlas.html, Liew et al., Scientific Data 2022,
https://doi.org/10.1038/s41597-022-01401-7).

Layout, BIDS derivatives (https://github.com/openmedlab/Awesome-Medical-Dataset,
resources/ATLASv2.0.md): ``ATLAS_2/Training/R001/sub-r001s001/ses-1/anat/`` holds
``sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz`` and
``..._label-L_desc-T1lesion_mask.nii.gz``; ``ATLAS_2/Testing/`` the same without masks.
"""

import re
from pathlib import Path

from stroke_nets.datasets.convert import Case, bring_mask, bring_scan, nothing_found

SPACE = "space-MNI152NLin2009aSym"
SCAN = re.compile(rf"(sub-[^_]+)_(ses-[^_]+)_{SPACE}_T1w\.nii\.gz")
WITHOUT_MASKS = {"testing", "test"}


def find_cases(source: Path) -> tuple[list[Case], list[str]]:
    """Find every scan, with its mask unless it is under ``Testing``; nothing is left out.

    Raises:
        DataError: there is no scan.
    """
    cases = []
    for image in sorted(source.rglob(f"sub-*_{SPACE}_T1w.nii.gz")):
        if named := SCAN.fullmatch(image.name):
            subject, session = named.groups()
            folders = {part.lower() for part in image.relative_to(source).parts}
            mask = f"{subject}_{session}_{SPACE}_label-L_desc-T1lesion_mask.nii.gz"
            masks = [] if folders & WITHOUT_MASKS else [image.with_name(mask)]
            cases.append(Case(subject, image, masks, session))
    if not cases:
        raise nothing_found(source, f"sub-r001s001_ses-1_{SPACE}_T1w.nii.gz or the like")
    return cases, []


def convert(case: Case, out: Path) -> dict[str, str | None]:
    """Link the scan and write its mask as 0 and 1."""
    scan = bring_scan(case, out, f"{SPACE}_T1w")
    return {"image": scan, "label": bring_mask(case, out, scan)}
