"""ARC, the Aphasia Recovery Cohort: T1w and T2w scans of 230 people after stroke, 228 masks.

Licence: CC0 (https://openneuro.org/datasets/ds004884, Gibson et al., Scientific Data 2024,
https://doi.org/10.1038/s41597-024-03819-7).

Layout, BIDS: ``sub-M2001/ses-1253/anat/sub-M2001_ses-1253_acq-tfl3_run-4_T1w.nii.gz``, a T2w
``..._acq-spc3_run-3_T2w.nii.gz``, and the mask, drawn on that T2w,
``derivatives/lesion_masks/sub-M2001/ses-1253/anat/..._acq-spc3_run-3_T2w_desc-lesion_mask.nii.gz``.
Not all of the 902 sessions are complete. The mask is resampled to the T1w using the headers; a mask
whose session has no T1w is left out.
"""

import re
from pathlib import Path

from stroke_nets.datasets.convert import Case, bring_mask, bring_other, bring_scan, nothing_found

MASK = re.compile(r"(sub-[^_]+)(?:_(ses-[^_]+))?_(?:.+_)?T2w_desc-lesion_mask\.nii\.gz")


def find_cases(source: Path) -> tuple[list[Case], list[str]]:
    """Find every mask with the first T1w and the T2w of its session; list masks without a T1w.

    Raises:
        DataError: no mask has a T1w.
    """
    cases, left_out = [], []
    for mask in sorted(source.glob("derivatives/lesion_masks/**/*_desc-lesion_mask.nii.gz")):
        if named := MASK.fullmatch(mask.name):
            subject, session = named.groups()
            anat = source / subject / (session or "") / "anat"
            t1w = sorted(anat.glob(f"{subject}*_T1w.nii.gz"))
            t2w = anat / mask.name.replace("_desc-lesion_mask", "")
            if t1w:
                cases.append(Case(subject, t1w[0], [mask], session, {"t2w": t2w}))
            else:
                left_out.append(f"{mask.relative_to(source)}: no T1w in its session")
    if not cases:
        lacks = "derivatives/lesion_masks/.../*_T2w_desc-lesion_mask.nii.gz with a T1w"
        raise nothing_found(source, lacks)
    return cases, left_out


def convert(case: Case, out: Path) -> dict[str, str | None]:
    """Link the T1w and resample mask and T2w to its grid."""
    scan = bring_scan(case, out, "T1w")
    label = bring_mask(case, out, scan, resample=True)
    return {"image": scan, "label": label, "t2w": bring_other(case, out, scan, "t2w", "T2w")}
